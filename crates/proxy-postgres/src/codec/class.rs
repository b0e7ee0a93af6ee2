//! What a message of the client may be. The lists are closed: a type byte that stands in none of
//! the first three is opaque, and opaque messages are refused unless policy allows them.

use loggia_gate::FrameClass;

/// Query, Parse, Bind, Execute, FunctionCall.
pub const ACTION: &[u8] = b"QPBEF";
/// CopyData, CopyDone, CopyFail.
pub const PART_OF: &[u8] = b"dcf";
/// Sync, Flush, Describe, Close, Terminate.
pub const NEUTRAL: &[u8] = b"SHDCX";
/// Known, but without a place after start-up: the answers of an authentication exchange.
pub const OPAQUE: &[u8] = b"p";

/// The class of the message with this type byte.
pub const fn class_of(tag: u8) -> FrameClass {
    match tag {
        b'Q' | b'P' | b'B' | b'E' | b'F' => FrameClass::Action,
        b'd' | b'c' | b'f' => FrameClass::Part,
        b'S' | b'H' | b'D' | b'C' | b'X' => FrameClass::Neutral,
        _ => FrameClass::Opaque,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every frontend message of the protocol's documentation, by its type byte: the same table
    /// as `src/include/libpq/protocol.h` has under "These are the request codes sent by the
    /// frontend" and "for PG_PROTO both directions".
    const DOCUMENTED: &[(u8, &str)] = &[
        (b'B', "Bind"),
        (b'C', "Close"),
        (b'D', "Describe"),
        (b'E', "Execute"),
        (b'F', "FunctionCall"),
        (b'H', "Flush"),
        (b'P', "Parse"),
        (b'Q', "Query"),
        (b'S', "Sync"),
        (b'X', "Terminate"),
        (b'f', "CopyFail"),
        (b'p', "GSSResponse, PasswordMessage, SASLInitialResponse, SASLResponse"),
        (b'c', "CopyDone"),
        (b'd', "CopyData"),
    ];

    #[test]
    fn every_documented_type_stands_in_exactly_one_list_and_is_of_that_class() {
        let lists = [
            (ACTION, FrameClass::Action),
            (PART_OF, FrameClass::Part),
            (NEUTRAL, FrameClass::Neutral),
            (OPAQUE, FrameClass::Opaque),
        ];
        for (tag, name) in DOCUMENTED {
            let found: Vec<FrameClass> =
                lists.iter().filter(|(list, _)| list.contains(tag)).map(|(_, c)| *c).collect();
            assert_eq!(found, [class_of(*tag)], "{name} stands in {} lists", found.len());
        }
        let listed: usize = lists.iter().map(|(list, _)| list.len()).sum();
        assert_eq!(listed, DOCUMENTED.len(), "a list names a type that is not documented");
    }

    #[test]
    fn whatever_is_not_documented_is_opaque() {
        for tag in 0..=u8::MAX {
            if !DOCUMENTED.iter().any(|(known, _)| *known == tag) {
                assert_eq!(class_of(tag), FrameClass::Opaque, "{tag:#x}");
            }
        }
    }
}
