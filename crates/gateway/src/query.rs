//! Queries, and what is written like one.

/// The pairs of a query, decoded. One that is not encoded as a query is left out.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(name)?, decoded(value)?))
    })
}

/// Percent decoding of a query, where "+" is a space.
pub(crate) fn decoded(text: &str) -> Option<String> {
    percent_decoded(text, b' ')
}

/// Percent decoding of a path, where "+" is itself.
pub(crate) fn path_decoded(text: &str) -> Option<String> {
    percent_decoded(text, b'+')
}

fn percent_decoded(text: &str, plus: u8) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => plus,
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                *hex::decode(digits).ok()?.first()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_and_a_malformed_one_is_left_out() {
        let found: Vec<_> = pairs("a=1+2&b=%C3%BC&c=%zz&d&&e=x=y").collect();
        let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, [("a", "1 2"), ("b", "ü"), ("d", ""), ("e", "x=y")]);
    }
}
