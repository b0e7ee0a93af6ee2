//! What a client's messages say. Everything is borrowed from the frame.
//!
//! Each message must end where its last field ends, as the server demands: otherwise what is
//! recorded would not be all that is sent.

use super::CodecError;
use super::frame::Frame;
use super::reader::Reader;

/// One parameter of a Bind, or one argument of a FunctionCall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter<'a> {
    /// NULL.
    Null,
    /// In text format.
    Text(&'a [u8]),
    /// In binary format.
    Binary(&'a [u8]),
}

/// Parse: makes a prepared statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// Its name; empty is the unnamed one.
    pub name: &'a [u8],
    /// The statement.
    pub text: &'a [u8],
    /// The types that the client gives its parameters, in order.
    pub types: Words<'a, 4>,
}

/// Numbers of this many bytes each, as they stand in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Words<'a, const N: usize>(&'a [[u8; N]]);

impl Words<'_, 4> {
    /// The numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|word| u32::from_be_bytes(*word))
    }
}

impl Words<'_, 2> {
    /// The numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().map(|word| u16::from_be_bytes(*word))
    }
}

/// Bind: makes a portal from a prepared statement and parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal's name; empty is the unnamed one.
    pub portal: &'a [u8],
    /// The prepared statement's name.
    pub statement: &'a [u8],
    /// The parameters, in order.
    pub parameters: Vec<Parameter<'a>>,
    /// The formats that the client wants results in: none for all text, one for all alike, or one
    /// for each column.
    pub result_formats: Words<'a, 2>,
}

/// What Describe and Close speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named<'a> {
    /// A prepared statement.
    Statement(&'a [u8]),
    /// A portal.
    Portal(&'a [u8]),
}

/// A message of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// Simple protocol: the text of one or more statements.
    Query(&'a [u8]),
    /// Makes a prepared statement.
    Parse(Parse<'a>),
    /// Makes a portal.
    Bind(Bind<'a>),
    /// Runs a portal.
    Execute {
        /// The portal's name.
        portal: &'a [u8],
        /// Rows to fetch at most; 0 is all. The server reads it as a signed number, and takes
        /// everything that is not positive for "all".
        rows_max: i32,
    },
    /// Asks for a description.
    Describe(Named<'a>),
    /// Ends a prepared statement or portal.
    Close(Named<'a>),
    /// Calls a function.
    FunctionCall {
        /// The function's object id.
        oid: u32,
        /// The arguments, in order.
        arguments: Vec<Parameter<'a>>,
        /// The format that the client wants the result in; 0 is text.
        result_format: u16,
    },
    /// Ends a group of messages.
    Sync,
    /// Asks for what is ready.
    Flush,
    /// Ends the session.
    Terminate,
    /// Ends COPY data.
    CopyDone,
    /// Breaks COPY off, with a reason.
    CopyFail(&'a [u8]),
    /// Nothing that Loggia reads.
    Opaque(u8),
}

/// Reads one message.
pub fn parse(frame: &Frame) -> Result<Message<'_>, CodecError> {
    let body = frame.body();
    match frame.tag() {
        b'Q' => whole_string(body, "Query").map(Message::Query),
        b'P' => parse_parse(body).map(Message::Parse),
        b'B' => parse_bind(body).map(Message::Bind),
        b'E' => parse_execute(body),
        b'D' => parse_named(body, "Describe").map(Message::Describe),
        b'C' => parse_named(body, "Close").map(Message::Close),
        b'F' => parse_function_call(body),
        b'S' => empty(body, "Sync", Message::Sync),
        b'H' => empty(body, "Flush", Message::Flush),
        b'X' => empty(body, "Terminate", Message::Terminate),
        b'c' => empty(body, "CopyDone", Message::CopyDone),
        b'f' => whole_string(body, "CopyFail").map(Message::CopyFail),
        tag => Ok(Message::Opaque(tag)),
    }
}

fn empty<'a>(
    body: &[u8],
    what: &'static str,
    message: Message<'a>,
) -> Result<Message<'a>, CodecError> {
    Reader::new(body, what).end().map(|()| message)
}

fn whole_string<'a>(body: &'a [u8], what: &'static str) -> Result<&'a [u8], CodecError> {
    let mut reader = Reader::new(body, what);
    let text = reader.string()?;
    reader.end()?;
    Ok(text)
}

fn parse_parse(body: &[u8]) -> Result<Parse<'_>, CodecError> {
    let mut reader = Reader::new(body, "Parse");
    let name = reader.string()?;
    let text = reader.string()?;
    let types = words(&mut reader)?;
    reader.end()?;
    Ok(Parse { name, text, types })
}

fn parse_bind(body: &[u8]) -> Result<Bind<'_>, CodecError> {
    let mut reader = Reader::new(body, "Bind");
    let portal = reader.string()?;
    let statement = reader.string()?;
    let parameters = parse_parameters(&mut reader)?;
    let result_formats = words(&mut reader)?;
    reader.end()?;
    Ok(Bind { portal, statement, parameters, result_formats })
}

fn parse_execute(body: &[u8]) -> Result<Message<'_>, CodecError> {
    let mut reader = Reader::new(body, "Execute");
    let portal = reader.string()?;
    let rows_max = reader.i32()?;
    reader.end()?;
    Ok(Message::Execute { portal, rows_max })
}

fn parse_named<'a>(body: &'a [u8], what: &'static str) -> Result<Named<'a>, CodecError> {
    let mut reader = Reader::new(body, what);
    let kind = reader.byte()?;
    let name = reader.string()?;
    reader.end()?;
    match kind {
        b'S' => Ok(Named::Statement(name)),
        b'P' => Ok(Named::Portal(name)),
        _ => Err(reader.malformed()),
    }
}

fn parse_function_call(body: &[u8]) -> Result<Message<'_>, CodecError> {
    let mut reader = Reader::new(body, "FunctionCall");
    let oid = reader.u32()?;
    let arguments = parse_parameters(&mut reader)?;
    let result_format = reader.u16()?;
    reader.end()?;
    Ok(Message::FunctionCall { oid, arguments, result_format })
}

/// A count, then so many numbers.
fn words<'a, const N: usize>(reader: &mut Reader<'a>) -> Result<Words<'a, N>, CodecError> {
    let count = usize::from(reader.u16()?);
    let (words, _) = reader.take(count * N)?.as_chunks();
    Ok(Words(words))
}

/// Format codes, then values: none for all text, one for all alike, or one each.
fn parse_parameters<'a>(reader: &mut Reader<'a>) -> Result<Vec<Parameter<'a>>, CodecError> {
    let format_count = usize::from(reader.u16()?);
    let formats = reader.take(format_count * 2)?;
    let is_text = |place: usize| {
        let place = if format_count == 1 { 0 } else { place };
        // A count that fits neither way is refused by the server; the values are kept as bytes.
        format_count == 0 || formats.get(place * 2..place * 2 + 2) == Some(&[0, 0])
    };
    let count = usize::from(reader.u16()?);
    // Each value takes at least its length field, so the count cannot make us reserve much.
    let mut values = Vec::with_capacity(count.min(reader.rest().len() / 4));
    for place in 0..count {
        values.push(match reader.i32()? {
            -1 => Parameter::Null,
            length => {
                let length = usize::try_from(length).map_err(|_| reader.malformed())?;
                let value = reader.take(length)?;
                if is_text(place) { Parameter::Text(value) } else { Parameter::Binary(value) }
            }
        });
    }
    Ok(values)
}
