//! Declarations: files in which people write down what there shall be.
//!
//! TOML files hold resources, groups, people and service accounts; `.cedar` files are policies;
//! `.pem` files are public keys that a TOML file names. Strict: an unknown key, a doubled name or
//! a secret given in clear is an error with its place, and nothing is taken then.

mod reader;
mod resource;
mod sections;

use loggia_model::resource::Resource;
use reader::Reader;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;

/// All files of a declaration together are at most this long, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// The longest name of a file, in bytes.
const FILE_NAME_BYTES_MAX: usize = 255;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredFile {
    /// Its name as the declarer sees it; ends with `.toml`, `.cedar` or `.pem`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// One thing that is wrong with a declaration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeclarationError {
    /// Name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong. Never repeats a value that may be a secret.
    pub message: String,
    /// What to write instead, where that is known.
    pub hint: Option<String>,
}

impl fmt::Display for DeclarationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a declaration, by file and place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct DeclarationErrors(pub Vec<DeclarationError>);

impl fmt::Display for DeclarationErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, error) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    file: String,
    line: usize,
    column: usize,
}

impl<T> At<T> {
    /// An error at this place.
    pub(crate) fn error(&self, message: String, hint: Option<String>) -> DeclarationError {
        let (file, line, column) = (self.file.clone(), self.line, self.column);
        DeclarationError { file, line, column, message, hint }
    }
}

/// A declared group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredGroup {
    pub(crate) name: At<String>,
    pub(crate) members: Vec<At<String>>,
}

/// A declared person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredPerson {
    pub(crate) name: At<String>,
    pub(crate) admin: bool,
    pub(crate) groups: Vec<At<String>>,
}

/// A declared service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredService {
    pub(crate) name: At<String>,
    /// SPKI in PEM, in its one form.
    pub(crate) public_key: String,
}

/// A declaration that is well-formed by itself. Whether it fits what is there shows in the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declaration {
    /// By name; the id of each is that of the empty moment and replaced by the plan.
    pub(crate) resources: Vec<At<Resource>>,
    pub(crate) groups: Vec<DeclaredGroup>,
    pub(crate) people: Vec<DeclaredPerson>,
    pub(crate) services: Vec<DeclaredService>,
    pub(crate) policies: BTreeMap<String, String>,
    pub(crate) prune: bool,
    digest: String,
}

impl Declaration {
    /// Reads a declaration. `protocols` are those that this gateway speaks.
    ///
    /// # Errors
    /// Everything that is wrong with it, with file, line and column.
    pub fn parse(files: &[DeclaredFile], protocols: &[&str]) -> Result<Self, DeclarationErrors> {
        let mut all: Vec<&DeclaredFile> = files.iter().collect();
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut errors = check_files(&all);
        let mut declaration = Self { digest: digest(&all), ..Self::default() };
        if errors.is_empty() {
            for file in &all {
                let mut reader = Reader::new(file, &mut errors);
                match extension(&file.name) {
                    "toml" => declaration.read_toml(&mut reader, &all, protocols),
                    "cedar" => {
                        declaration.policies.insert(file.name.clone(), file.text.clone());
                    }
                    _ => {}
                }
            }
            declaration.check_names(&mut errors);
        }
        if errors.is_empty() {
            return Ok(declaration);
        }
        errors.sort();
        Err(DeclarationErrors(errors))
    }

    /// SHA-256 over the files, lower-case hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The policy files: name and text.
    pub fn policies(&self) -> impl Iterator<Item = (&str, &str)> {
        self.policies.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The resources. Their ids are given when they are applied; here they mean nothing.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter().map(|resource| &resource.value)
    }

    /// Names that stand twice. People and service accounts share theirs.
    fn check_names(&self, errors: &mut Vec<DeclarationError>) {
        let resources = self.resources.iter().map(|it| (it.value.name.as_str(), it.error_at()));
        let groups = self.groups.iter().map(|it| (it.name.value.as_str(), it.name.error_at()));
        let people = self.people.iter().map(|it| (it.name.value.as_str(), it.name.error_at()));
        let services = self.services.iter().map(|it| (it.name.value.as_str(), it.name.error_at()));
        doubled("resource", resources, errors);
        doubled("group", groups, errors);
        doubled("person or service", people.chain(services), errors);
    }
}

impl<T> At<T> {
    /// Makes errors at this place.
    fn error_at(&self) -> impl Fn(String) -> DeclarationError + '_ {
        |message| self.error(message, None)
    }
}

fn doubled<'a, E: Fn(String) -> DeclarationError>(
    what: &str,
    names: impl Iterator<Item = (&'a str, E)>,
    errors: &mut Vec<DeclarationError>,
) {
    let mut seen = std::collections::BTreeSet::new();
    for (name, error) in names {
        if !seen.insert(name) {
            errors.push(error(format!("the {what} `{name}` stands twice")));
        }
    }
}

fn extension(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn check_files(sorted: &[&DeclaredFile]) -> Vec<DeclarationError> {
    let mut errors = Vec::new();
    let mut wrong = |file: &DeclaredFile, message: String, hint: Option<&str>| {
        let file: String = file.name.chars().take(FILE_NAME_BYTES_MAX).collect();
        let hint = hint.map(str::to_owned);
        errors.push(DeclarationError { file, line: 1, column: 1, message, hint });
    };
    for (one, next) in sorted.iter().zip(sorted.iter().skip(1)) {
        if one.name == next.name {
            wrong(next, "two files have this name".to_owned(), None);
        }
    }
    for file in sorted {
        if !["toml", "cedar", "pem"].contains(&extension(&file.name)) {
            let hint = "a declaration is made of .toml, .cedar and .pem files";
            wrong(file, "this is no file of a declaration".to_owned(), Some(hint));
        }
        let good = file.name.bytes().all(|byte| byte.is_ascii_graphic());
        if !good || file.name.len() > FILE_NAME_BYTES_MAX {
            let hint = "visible ASCII characters without spaces, at most 255";
            wrong(file, "this cannot be the name of a file".to_owned(), Some(hint));
        }
    }
    let bytes: usize = sorted.iter().map(|file| file.text.len()).sum();
    if let (true, Some(file)) = (bytes > TEXT_BYTES_MAX, sorted.first()) {
        let message = format!("all files have {bytes} bytes; at most {TEXT_BYTES_MAX} are taken");
        wrong(file, message, None);
    }
    errors
}

/// SHA-256 over each name and text, each preceded by its length (8 bytes, big-endian).
fn digest(sorted: &[&DeclaredFile]) -> String {
    let mut hash = Sha256::new();
    for part in sorted.iter().flat_map(|file| [&file.name, &file.text]) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests;
