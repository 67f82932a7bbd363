//! Words: what was probably meant, and what later versions will know.

/// Keys of the format that this version does not know yet.
const LATER_KEYS: [&str; 3] = ["token", "tls", "weights"];

/// Whether the format has such a key, but not in this version.
pub(super) fn is_later_key(key: &str) -> bool {
    LATER_KEYS.contains(&key)
}

/// The candidate that is most like `word`, if any is like it at all.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Long words are not typing errors, and the distance costs their product.
    if word.len() > 64 {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    let allowed = match lower.chars().count() {
        0 => return None,
        1..=3 => 1,
        4..=6 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= 64 && candidate.len().abs_diff(lower.len()) <= allowed)
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_a_likely_slip_of_the_pen() {
        assert_eq!(nearest("adress", ["limits", "address"]), Some("address"));
        assert_eq!(nearest("Timeouts", ["timeouts"]), Some("timeouts"));
        assert_eq!(nearest("lsiten", ["listen"]), Some("listen"));
        assert_eq!(nearest("cat", ["address", "limits"]), None);
        assert_eq!(nearest("", ["a"]), None);
        assert_eq!(nearest(&"a".repeat(100), ["a"]), None);
    }
}
