use super::*;
use proptest::prelude::*;

const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[test]
fn a_binding_reads_back_and_has_one_form() {
    let text = format!("loggia.internal/main/nd_1/e1:4711:{HASH}");
    let binding: Binding = text.parse().unwrap();
    assert_eq!((binding.origin.as_str(), binding.index), ("loggia.internal/main/nd_1/e1", 4711));
    assert_eq!(binding.to_string(), text);
    let upper = HASH.to_uppercase();
    for bad in [
        String::new(),
        HASH.to_owned(),
        format!(":1:{HASH}"),
        format!("o:+1:{HASH}"),
        format!("o:01:{HASH}"),
        format!("o::{HASH}"),
        format!("o:1:{upper}"),
        format!("o:1:{}", &HASH[1..]),
        format!("o:1:{HASH} "),
    ] {
        assert_eq!(bad.parse::<Binding>(), Err(()), "{bad}");
    }
}

proptest! {
    #[test]
    fn any_text_is_refused_or_written_again_the_same(text in any::<String>(), odd in "[a-z:0-9]{0,80}") {
        for text in [text, format!("{odd}:{HASH}")] {
            if let Ok(binding) = text.parse::<Binding>() {
                prop_assert_eq!(binding.to_string(), text);
            }
        }
    }
}
