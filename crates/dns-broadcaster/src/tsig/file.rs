//! Key files: what `tsig-keygen` prints, or a secret alone.

use crate::core::name::Name;
use crate::tsig::{Algorithm, InvalidKey, Key};

/// See [`Key::from_file_text`].
pub(super) fn parse(
    text: &str,
    name: Option<&Name>,
    algorithm: Option<Algorithm>,
) -> Result<Key, InvalidKey> {
    // Base64 has no brace, and a clause has one always.
    if !text.contains('{') {
        let name = name.ok_or(InvalidKey::Nameless)?;
        return Key::from_base64(name, algorithm.unwrap_or(Algorithm::HmacSha256), text.trim());
    }
    let clause = Clause::parse(text)?;
    agree(name, &clause.name)?;
    agree(algorithm.as_ref(), &clause.algorithm)?;
    Key::from_base64(&clause.name, clause.algorithm, clause.secret)
}

fn agree<T: PartialEq + ToString>(configured: Option<&T>, found: &T) -> Result<(), InvalidKey> {
    match configured {
        Some(configured) if configured != found => {
            Err(InvalidKey::Disagreement { configured: configured.to_string(), found: found.to_string() })
        }
        _ => Ok(()),
    }
}

/// `key "name" { algorithm hmac-sha256; secret "…"; };`
struct Clause<'a> {
    name: Name,
    algorithm: Algorithm,
    secret: &'a str,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Result<Self, InvalidKey> {
        let mut tokens = Tokens { text, rest: text };
        tokens.expect("key", "the word \"key\"")?;
        let name = Name::parse(tokens.word("the key's name")?)?;
        tokens.expect("{", "\"{\" behind the key's name")?;
        let (mut algorithm, mut secret) = (None, None);
        loop {
            let what = "one \"algorithm\" and one \"secret\", then \"}\"";
            match tokens.next() {
                Some("algorithm") if algorithm.is_none() => {
                    algorithm = Some(tokens.word("an algorithm")?.parse()?);
                }
                Some("secret") if secret.is_none() => secret = Some(tokens.word("a secret")?),
                Some("}") => break,
                _ => return Err(tokens.lacks(what)),
            }
            tokens.expect(";", "\";\" behind the value")?;
        }
        // `named` wants it; other programs that read such files do not.
        let end = tokens.next().filter(|&token| token != ";").or_else(|| tokens.next());
        if end.is_some() {
            return Err(tokens.lacks("nothing behind the one key"));
        }
        let algorithm = algorithm.ok_or_else(|| tokens.lacks("an \"algorithm\" in the key"))?;
        let secret = secret.ok_or_else(|| tokens.lacks("a \"secret\" in the key"))?;
        Ok(Self { name, algorithm, secret })
    }
}

/// Words, quoted strings without their quotes, and the characters `{`, `}` and `;` for themselves.
/// Comments in all three forms of BIND are passed over; within a word `//` is no comment, because
/// a secret may hold it.
struct Tokens<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Option<&'a str> {
        loop {
            self.rest = self.rest.trim_start();
            let end = if self.rest.starts_with('#') || self.rest.starts_with("//") {
                "\n"
            } else if self.rest.starts_with("/*") {
                "*/"
            } else {
                break;
            };
            self.rest = self.rest.split_once(end).map_or("", |(_, behind)| behind);
        }
        if let Some(quoted) = self.rest.strip_prefix('"') {
            let (token, behind) = quoted.split_once('"').unwrap_or((quoted, ""));
            self.rest = behind;
            return Some(token);
        }
        let first = self.rest.chars().next()?;
        let is_end = |byte: char| byte.is_whitespace() || "{};\"".contains(byte);
        let length =
            if is_end(first) { first.len_utf8() } else { self.rest.find(is_end).unwrap_or(self.rest.len()) };
        let (token, behind) = self.rest.split_at(length);
        self.rest = behind;
        Some(token)
    }

    fn expect(&mut self, token: &str, what: &'static str) -> Result<(), InvalidKey> {
        if self.next() == Some(token) { Ok(()) } else { Err(self.lacks(what)) }
    }

    /// A value: neither punctuation nor the end.
    fn word(&mut self, what: &'static str) -> Result<&'a str, InvalidKey> {
        self.next().filter(|token| !["", "{", "}", ";"].contains(token)).ok_or_else(|| self.lacks(what))
    }

    /// The error for what was read last. It does not show that: it may be the secret.
    fn lacks(&self, expected: &'static str) -> InvalidKey {
        let read = &self.text[..self.text.len() - self.rest.len()];
        InvalidKey::Syntax { line: 1 + read.matches('\n').count(), expected }
    }
}
