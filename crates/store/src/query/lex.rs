//! From text to tokens, each with its column.

use super::QueryError;

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) what: What,
    /// Characters from 1.
    pub(super) column: usize,
    /// Length in characters.
    pub(super) width: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Open,
    Close,
    Not,
    Or,
    Word(Word),
}

/// A value, with the field before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// The field's name as typed.
    pub(super) field: Option<String>,
    /// The value without its quotes.
    pub(super) value: String,
    /// Whether it stood in quotes.
    pub(super) quoted: bool,
    /// Column of the value.
    pub(super) value_column: usize,
}

struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    column: usize,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn next(&mut self) -> Option<char> {
        self.column += 1;
        self.rest.next()
    }
}

/// All tokens of a query.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, QueryError> {
    let mut reader = Reader { rest: text.chars().peekable(), column: 1 };
    let mut tokens = Vec::new();
    while let Some(first) = reader.peek() {
        let column = reader.column;
        let what = match first {
            _ if first.is_whitespace() => {
                reader.next();
                continue;
            }
            '(' | ')' | '-' => {
                reader.next();
                match first {
                    '(' => What::Open,
                    ')' => What::Close,
                    _ => What::Not,
                }
            }
            '"' => {
                let value = quoted(&mut reader)?;
                What::Word(Word { field: None, value, quoted: true, value_column: column })
            }
            _ => word(&mut reader)?,
        };
        tokens.push(Token { what, column, width: reader.column - column });
    }
    Ok(tokens)
}

/// A word up to white space or the parenthesis that closes a group. One that was opened inside
/// the word belongs to it, so that `count(*)` is one word.
fn bare(reader: &mut Reader<'_>, stop_at_colon: bool) -> String {
    let mut text = String::new();
    let mut open = 0u32;
    while let Some(letter) = reader.peek() {
        match letter {
            '(' => open += 1,
            ')' if open == 0 => break,
            ')' => open -= 1,
            ':' if stop_at_colon && is_field_name(&text) => break,
            _ if letter.is_whitespace() => break,
            _ => {}
        }
        text.push(letter);
        reader.next();
    }
    text
}

fn is_field_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_')
}

fn word(reader: &mut Reader<'_>) -> Result<What, QueryError> {
    let column = reader.column;
    let text = bare(reader, true);
    if reader.peek() != Some(':') || !is_field_name(&text) {
        return Ok(match text.as_str() {
            "OR" => What::Or,
            _ => What::Word(Word { field: None, value: text, quoted: false, value_column: column }),
        });
    }
    reader.next();
    let value_column = reader.column;
    let is_quoted = reader.peek() == Some('"');
    let value = if is_quoted { quoted(reader)? } else { bare(reader, false) };
    Ok(What::Word(Word { field: Some(text), value, quoted: is_quoted, value_column }))
}

fn quoted(reader: &mut Reader<'_>) -> Result<String, QueryError> {
    let column = reader.column;
    reader.next();
    let mut text = String::new();
    while let Some(letter) = reader.next() {
        match letter {
            '"' => return Ok(text),
            '\\' if matches!(reader.peek(), Some('"' | '\\')) => text.extend(reader.next()),
            _ => text.push(letter),
        }
    }
    Err(QueryError::new(column, 1, "this quotation mark is never closed")
        .hint("close it with \"; inside quotes a quotation mark is written \\\""))
}
