//! Finds where each policy and each of its annotations begins in a text that Cedar has parsed
//! already: Cedar does not say where a policy without an error stands.

/// Where one policy stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Byte at which the policy begins.
    pub(crate) start: usize,
    /// The annotations: name, and byte of its `@`.
    pub(crate) annotations: Vec<(String, usize)>,
}

impl Place {
    /// Byte of the annotation, or of the policy where there is none of this name.
    pub(crate) fn of(&self, annotation: &str) -> usize {
        let found = self.annotations.iter().find(|(name, _)| name == annotation);
        found.map_or(self.start, |(_, byte)| *byte)
    }
}

/// The places of all policies, in order. Outside strings and comments a `;` ends a policy and `@`
/// begins an annotation, and nothing else does (Cedar's grammar).
pub(crate) fn places(text: &str) -> Vec<Place> {
    let mut places = Vec::new();
    let mut open: Option<Place> = None;
    let mut rest = text.char_indices().peekable();
    while let Some((byte, letter)) = rest.next() {
        if letter.is_whitespace() {
            continue;
        }
        if letter == '/' && rest.peek().is_some_and(|(_, next)| *next == '/') {
            while rest.next_if(|(_, next)| *next != '\n').is_some() {}
            continue;
        }
        let place = open.get_or_insert_with(|| Place { start: byte, annotations: Vec::new() });
        match letter {
            ';' => places.extend(open.take()),
            '@' => {
                let mut name = String::new();
                while let Some((_, next)) =
                    rest.next_if(|(_, next)| next.is_ascii_alphanumeric() || *next == '_')
                {
                    name.push(next);
                }
                place.annotations.push((name, byte));
            }
            '"' => {
                let mut escaped = false;
                for (_, inner) in rest.by_ref() {
                    match inner {
                        '"' if !escaped => break,
                        _ => escaped = inner == '\\' && !escaped,
                    }
                }
            }
            _ => {}
        }
    }
    places.extend(open);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_and_ats_in_strings_and_comments_do_not_count() {
        let text = "// a ; @x\n@id(\"a;@b\\\"\")\npermit(principal, action, resource);\n\
                    forbid(principal, action, resource) // ;\n when { principal.name == \";\" };";
        let places = places(text);
        assert_eq!(places.len(), 2);
        assert_eq!(places[0].annotations, [("id".to_owned(), 10)]);
        assert_eq!(&text[places[1].start..places[1].start + 6], "forbid");
        assert!(places[1].annotations.is_empty());
    }
}
