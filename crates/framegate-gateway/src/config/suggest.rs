//! "Did you mean": the known name nearest to an unknown one.

/// The known name within a few typing errors of `unknown`, if there is one.
pub(super) fn did_you_mean<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong: enough for slips, too few for a guess out of the blue.
    let errors_max = (unknown.chars().count() / 3).max(1);
    known
        .map(|name| (distance(unknown, name), name))
        .min()
        .filter(|(errors, _)| *errors <= errors_max)
        .map(|(_, name)| name)
}

/// Levenshtein's distance: letters to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let replace = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_mended_and_strangers_are_not() {
        let known = ["listen", "origins", "hosts"];
        let check = |input, expected| assert_eq!(did_you_mean(input, known.into_iter()), expected, "{input}");
        check("listne", Some("listen"));
        check("origin", Some("origins"));
        check("host", Some("hosts"));
        check("password", None);
        check("", None);
    }
}
