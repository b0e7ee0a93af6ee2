//! Annotations of a policy: its name, and what a permit obliges to.

use loggia_model::decision::Obligations;
use loggia_model::resource::Depth;

/// The annotations that exist. `@description` is for readers and has any value.
const KNOWN: &[&str] = &["id", "description", "depth", "idle", "session", "recorded"];
/// The longest name of a policy, in bytes.
const ID_BYTES_MAX: usize = 128;
/// The longest duration of an obligation: a year, in seconds.
const DURATION_S_MAX: u64 = 366 * 86_400;

/// What is wrong with an annotation, and what to write instead.
pub(crate) type Wrong = (String, Option<String>);

/// Reads one annotation into the obligations; `@id` and `@description` leave them as they are.
pub(crate) fn read(
    name: &str,
    value: &str,
    on_permit: bool,
    into: &mut Obligations,
) -> Result<(), Wrong> {
    match name {
        "id" => return check_id(value),
        "description" => return Ok(()),
        "depth" => into.depth = Some(depth(value)?),
        "idle" => into.idle_s_max = Some(duration_s("idle", value)?),
        "session" => into.session_s_max = Some(duration_s("session", value)?),
        "recorded" => into.recorded_bytes_max = Some(bytes(value)?),
        other => return Err((format!("there is no annotation `@{other}`"), nearest(other))),
    }
    if on_permit {
        return Ok(());
    }
    let hint = "a forbid obliges to nothing; put it on the permit".to_owned();
    Err((format!("`@{name}` stands on a forbid"), Some(hint)))
}

fn check_id(value: &str) -> Result<(), Wrong> {
    let good = !value.is_empty()
        && value.len() <= ID_BYTES_MAX
        && value.bytes().all(|byte| byte.is_ascii_graphic());
    if good {
        return Ok(());
    }
    let hint = format!("1 to {ID_BYTES_MAX} visible ASCII characters without spaces");
    Err((format!("`{}` cannot name a policy", value.escape_debug()), Some(hint)))
}

fn nearest(unknown: &str) -> Option<String> {
    let best = KNOWN.iter().min_by_key(|known| strsim::damerau_levenshtein(known, unknown))?;
    if strsim::damerau_levenshtein(best, unknown) <= 2 {
        return Some(format!("did you mean `@{best}`?"));
    }
    Some(format!("known are @{}", KNOWN.join(", @")))
}

fn depth(value: &str) -> Result<Depth, Wrong> {
    for depth in [Depth::Disk, Depth::Kernel] {
        if depth.as_str() == value {
            return Ok(depth);
        }
    }
    let hint = "write @depth(\"disk\") or @depth(\"kernel\")".to_owned();
    Err((format!("`{}` is not a depth", value.escape_debug()), Some(hint)))
}

/// A whole number and a unit directly behind it.
fn amount<'a>(value: &str, units: &'a [(&'a str, u64)]) -> Option<u64> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor).filter(|amount| *amount > 0)
}

fn duration_s(name: &str, value: &str) -> Result<u64, Wrong> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    amount(value, &units).filter(|seconds| *seconds <= DURATION_S_MAX).ok_or_else(|| {
        let hint =
            format!("a whole number with s, m, h or d, at most 366d, such as @{name}(\"15m\")");
        (format!("`{}` is not a duration", value.escape_debug()), Some(hint))
    })
}

fn bytes(value: &str) -> Result<u64, Wrong> {
    let units = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
    amount(value, &units).ok_or_else(|| {
        let hint = "a whole number with B, KiB, MiB, GiB or TiB, such as @recorded(\"1GiB\")";
        (format!("`{}` is not a size", value.escape_debug()), Some(hint.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_with_their_units_and_nothing_else() {
        assert_eq!(duration_s("idle", "15m"), Ok(900));
        assert_eq!(duration_s("idle", "8h"), Ok(28_800));
        assert_eq!(bytes("1GiB"), Ok(1 << 30));
        for bad in
            ["", "m", "0m", "15", "15 m", "1.5h", "-1h", "1w", "367d", "99999999999999999999d"]
        {
            assert!(duration_s("idle", bad).is_err(), "{bad}");
        }
        for bad in ["", "1GB", "0B", "1 GiB", "18446744073709551615TiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_annotation_names_the_nearest() {
        let mut none = Obligations::default();
        let (message, hint) = read("idel", "15m", true, &mut none).unwrap_err();
        assert_eq!(message, "there is no annotation `@idel`");
        assert_eq!(hint.as_deref(), Some("did you mean `@idle`?"));
        let (_, hint) = read("approval", "x", true, &mut none).unwrap_err();
        assert!(hint.unwrap().starts_with("known are @id"));
    }
}
