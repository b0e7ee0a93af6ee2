//! The sections of a TOML file: what keys they have and what these mean. Resources have a file of
//! their own.

use super::reader::{Reader, Section};
use super::resource::{RESOURCE, resource};
use super::{Declaration, DeclaredFile, DeclaredGroup, DeclaredPerson, DeclaredService};
use crate::error::ControlError;
use crate::people::public_key_pem;

const TOP: &[&str] = &["prune", "resource", "group", "person", "service"];
const GROUP: &[&str] = &["name", "members"];
const PERSON: &[&str] = &["name", "admin", "groups"];
const SERVICE: &[&str] = &["name", "public_key", "public_key_file"];

impl Declaration {
    /// Adds what a TOML file declares.
    pub(super) fn read_toml(
        &mut self,
        reader: &mut Reader<'_>,
        files: &[&DeclaredFile],
        protocols: &[&str],
    ) {
        let Some(parsed) = reader.parse() else {
            return;
        };
        let top = reader.top(&parsed, TOP);
        self.prune |= reader.flag(top, "prune");
        for section in reader.tables(top, "resource", RESOURCE) {
            self.resources.extend(resource(reader, section, protocols));
        }
        for section in reader.tables(top, "group", GROUP) {
            let members = reader.names(section, "members");
            let name = reader.name(section);
            self.groups.extend(name.map(|name| DeclaredGroup { name, members }));
        }
        for section in reader.tables(top, "person", PERSON) {
            let groups = reader.names(section, "groups");
            let admin = reader.flag(section, "admin");
            let name = reader.name(section);
            self.people.extend(name.map(|name| DeclaredPerson { name, admin, groups }));
        }
        for section in reader.tables(top, "service", SERVICE) {
            let public_key = service_key(reader, section, files);
            let name = reader.name(section);
            if let (Some(name), Some(public_key)) = (name, public_key) {
                self.services.push(DeclaredService { name, public_key });
            }
        }
    }
}

/// A service account's key, from the file itself or from a `.pem` file beside it.
fn service_key(
    reader: &mut Reader<'_>,
    section: Section<'_>,
    files: &[&DeclaredFile],
) -> Option<String> {
    let inline = reader.text(section, "public_key");
    let file = reader.text(section, "public_key_file");
    let (at, text) = match (inline, file) {
        (Some(inline), None) => {
            let text = inline.value.clone();
            (inline, text)
        }
        (None, Some(path)) => {
            let wanted = path.value.trim_start_matches("./");
            match files.iter().find(|file| file.name.trim_start_matches("./") == wanted) {
                Some(file) => {
                    let text = file.text.clone();
                    (path, text)
                }
                None => {
                    let message = "this file did not come with the declaration".to_owned();
                    reader.wrong_at(&path, message, "name the .pem file as it is sent along");
                    return None;
                }
            }
        }
        (Some(inline), Some(_)) => {
            let message = "`public_key` and `public_key_file` say the same thing twice".to_owned();
            reader.wrong_at(&inline, message, "leave one of the two out");
            return None;
        }
        (None, None) => {
            let _ = reader.required(section, "public_key");
            return None;
        }
    };
    match public_key_pem(&text) {
        Ok(key) => Some(key),
        Err(ControlError::Invalid { message, hint }) => {
            reader.wrong_at(&at, message, &hint);
            None
        }
        Err(other) => {
            reader.wrong_at(&at, other.to_string(), "");
            None
        }
    }
}
