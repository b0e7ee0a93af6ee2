//! Reads tables strictly, and says where each thing stands.

use super::{At, DeclarationError, DeclaredFile};
use crate::error::nearest;
use loggia_model::resource::is_name;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One file while it is read. Errors are collected; reading goes on behind them.
pub(super) struct Reader<'a> {
    file: &'a DeclaredFile,
    errors: &'a mut Vec<DeclarationError>,
}

/// A table with its place and the word for what it is.
#[derive(Clone, Copy)]
pub(super) struct Section<'t> {
    pub(super) table: &'t DeTable<'t>,
    pub(super) what: &'static str,
    byte: usize,
}

impl<'t> Section<'t> {
    pub(super) fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a DeclaredFile, errors: &'a mut Vec<DeclarationError>) -> Self {
        Self { file, errors }
    }

    /// The whole file as a table; an error where it is no TOML. Of TOML's own message only the
    /// sentence is kept, never the line, which may hold a secret.
    pub(super) fn parse(&mut self) -> Option<Spanned<DeTable<'a>>> {
        match DeTable::parse(&self.file.text) {
            Ok(table) => Some(table),
            Err(error) => {
                let byte = error.span().map_or(0, |span| span.start);
                self.wrong(byte, error.message().replace('\n', "; "), None);
                None
            }
        }
    }

    /// Notes an error at a byte of the file.
    pub(super) fn wrong(&mut self, byte: usize, message: String, hint: Option<String>) {
        let place = self.at(byte..byte, ());
        self.errors.push(place.error(message, hint));
    }

    /// Notes an error at a value.
    pub(super) fn wrong_at<T>(&mut self, at: &At<T>, message: String, hint: &str) {
        self.errors.push(at.error(message, Some(hint.to_owned())));
    }

    /// A value with its place.
    pub(super) fn at<T>(&self, span: Range<usize>, value: T) -> At<T> {
        let before = self.file.text.get(..span.start).unwrap_or(&self.file.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let in_line = before.get(line_start..).unwrap_or("").chars().count();
        At {
            value,
            file: self.file.name.clone(),
            line: before.matches('\n').count() + 1,
            column: in_line + 1,
        }
    }

    /// The top of a file, with its keys checked.
    pub(super) fn top<'t>(
        &mut self,
        table: &'t Spanned<DeTable<'t>>,
        known: &[&str],
    ) -> Section<'t> {
        let section = Section { table: table.get_ref(), what: "declaration", byte: 0 };
        self.check_keys(section, known);
        section
    }

    fn check_keys(&mut self, section: Section<'_>, known: &[&str]) {
        for key in section.table.keys() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let hint = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known are {}", known.join(", ")),
            };
            let message = format!("a {} has no key `{}`", section.what, name.escape_debug());
            self.wrong(key.span().start, message, Some(hint));
        }
    }

    fn wrong_type(&mut self, value: &Spanned<DeValue<'_>>, key: &str, wanted: &str) {
        let found = value.get_ref().type_str();
        let message = format!("`{key}` is {wanted}, not a value of type {found}");
        self.wrong(value.span().start, message, None);
    }

    /// The tables under `[[key]]`, with their keys checked.
    pub(super) fn tables<'t>(
        &mut self,
        section: Section<'t>,
        key: &'static str,
        known: &[&str],
    ) -> Vec<Section<'t>> {
        let Some(value) = section.get(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            let message = format!("`{key}` stands in double brackets: [[{key}]]");
            self.wrong(value.span().start, message, None);
            return Vec::new();
        };
        let mut all = Vec::new();
        for item in items.iter() {
            match item.get_ref().as_table() {
                Some(table) => {
                    let section = Section { table, what: key, byte: item.span().start };
                    self.check_keys(section, known);
                    all.push(section);
                }
                None => self.wrong_type(item, key, "a table"),
            }
        }
        all
    }

    /// A text, where it is given. Empty is an error: leaving the key out says the same.
    pub(super) fn text(&mut self, section: Section<'_>, key: &str) -> Option<At<String>> {
        let value = section.get(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(value, key, "a text in quotes");
            return None;
        };
        if text.is_empty() || text.contains('\0') {
            self.wrong(value.span().start, format!("`{key}` is empty or holds a NUL"), None);
            return None;
        }
        Some(self.at(value.span(), text.to_owned()))
    }

    /// A text that must be given.
    pub(super) fn required(&mut self, section: Section<'_>, key: &str) -> Option<At<String>> {
        if section.get(key).is_none() {
            let message = format!("a {} needs `{key}`", section.what);
            self.wrong(section.byte, message, None);
        }
        self.text(section, key)
    }

    /// A name that must be given.
    pub(super) fn name(&mut self, section: Section<'_>) -> Option<At<String>> {
        let name = self.required(section, "name")?;
        self.checked_name(name)
    }

    fn checked_name(&mut self, name: At<String>) -> Option<At<String>> {
        if is_name(&name.value) {
            return Some(name);
        }
        let message = "this cannot be a name".to_owned();
        self.wrong_at(&name, message, "a name is 1 to 128 of a-z, 0-9, `.`, `_` and `-`");
        None
    }

    /// Names in an array; none where the key is absent.
    pub(super) fn names(&mut self, section: Section<'_>, key: &str) -> Vec<At<String>> {
        let Some(value) = section.get(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(value, key, "an array of names");
            return Vec::new();
        };
        let mut all: Vec<At<String>> = Vec::new();
        for item in items.iter() {
            let Some(text) = item.get_ref().as_str() else {
                self.wrong_type(item, key, "an array of names");
                continue;
            };
            let at = self.at(item.span(), text.to_owned());
            if let Some(name) = self.checked_name(at) {
                if all.iter().any(|known| known.value == name.value) {
                    let message = format!("`{}` stands twice in `{key}`", name.value);
                    self.wrong(item.span().start, message, None);
                }
                all.push(name);
            }
        }
        all
    }

    /// Texts in an array; none where the key is absent.
    pub(super) fn texts(&mut self, section: Section<'_>, key: &str) -> Vec<At<String>> {
        let Some(value) = section.get(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(value, key, "an array of texts");
            return Vec::new();
        };
        let mut all = Vec::new();
        for item in items.iter() {
            match item.get_ref().as_str() {
                Some(text) => all.push(self.at(item.span(), text.to_owned())),
                None => self.wrong_type(item, key, "an array of texts"),
            }
        }
        all
    }

    /// Where the value of a key stands, where it is given.
    pub(super) fn place(&self, section: Section<'_>, key: &str) -> Option<At<()>> {
        section.get(key).map(|value| self.at(value.span(), ()))
    }

    /// Yes or no; no where the key is absent.
    pub(super) fn flag(&mut self, section: Section<'_>, key: &str) -> bool {
        let Some(value) = section.get(key) else {
            return false;
        };
        if value.get_ref().as_bool().is_none() {
            self.wrong_type(value, key, "true or false");
        }
        value.get_ref().as_bool().unwrap_or(false)
    }

    /// One of a few words; `None` where it is absent or, with an error, another.
    pub(super) fn word<T>(
        &mut self,
        section: Section<'_>,
        key: &str,
        words: &[&str],
        named: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(section, key)?;
        let found = named(&text.value);
        if found.is_none() {
            let hint = match nearest(&text.value, words.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("one of \"{}\"", words.join("\", \"")),
            };
            self.wrong_at(&text, format!("`{key}` cannot be this"), &hint);
        }
        found
    }

    /// A table of texts under names, such as labels; in the order of the names.
    pub(super) fn pairs(&mut self, section: Section<'_>, key: &str) -> Vec<(String, String)> {
        let Some(value) = section.get(key) else {
            return Vec::new();
        };
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(value, key, "a table such as { env = \"prod\" }");
            return Vec::new();
        };
        let mut all = Vec::new();
        for (name, value) in table.iter() {
            let at = self.at(name.span(), name.get_ref().to_string());
            let name = self.checked_name(at);
            match (name, value.get_ref().as_str()) {
                (Some(name), Some(text)) if text.len() <= 256 => {
                    all.push((name.value, text.to_owned()));
                }
                (None, _) => {}
                _ => self.wrong_type(value, key, "a table of texts of at most 256 bytes"),
            }
        }
        all.sort();
        all
    }
}
