//! Keys as operators write them down.

use switchback_dns::core::name::Name;
use switchback_dns::tsig::{Algorithm, InvalidKey, Key, Keys};

use crate::name;

/// Holds `//`, which begins a comment elsewhere in a key file.
const BASE64: &str = "c2VjcmV0//8gb2YgdGhpcnR5LXR3byBieXRlcyAhIQ==";

/// Two keys are the same when they sign the same.
fn signature(key: &Key) -> Vec<u8> {
    key.sign_request(vec![0; 12], 1).unwrap().0
}

fn expected(algorithm: Algorithm) -> Vec<u8> {
    signature(&Key::from_base64(&name("xfr.example"), algorithm, BASE64).unwrap())
}

#[test]
fn a_key_file_is_read_as_tsig_keygen_and_people_write_it() {
    let printed = format!("key \"Xfr.example.\" {{\n\talgorithm hmac-sha256;\n\tsecret \"{BASE64}\";\n}};\n");
    let by_hand = format!(
        "# for the transfers\n/* of {{ both }} */ key xfr.example{{secret {BASE64};// \"new\"\nalgorithm HMAC-SHA256;}}"
    );
    for text in [printed, by_hand] {
        let key = Key::from_file_text(&text, None, None).unwrap();
        assert_eq!((key.name(), key.algorithm()), (&name("xfr.example"), Algorithm::HmacSha256), "{text}");
        assert_eq!(signature(&key), expected(Algorithm::HmacSha256), "{text}");
        let agreed = Key::from_file_text(&text, Some(&name("xfr.example")), Some(Algorithm::HmacSha256));
        assert!(agreed.is_ok());
    }
}

#[test]
fn a_secret_alone_takes_its_name_from_the_configuration() {
    let text = format!("{BASE64}\n");
    let read = |name: Option<&Name>, algorithm| Key::from_file_text(&text, name, algorithm);
    let xfr = name("xfr.example");
    assert_eq!(signature(&read(Some(&xfr), None).unwrap()), expected(Algorithm::HmacSha256));
    let long = read(Some(&xfr), Some(Algorithm::HmacSha512)).unwrap();
    assert_eq!(signature(&long), expected(Algorithm::HmacSha512));
    assert_eq!(read(None, None).unwrap_err(), InvalidKey::Nameless);
}

#[test]
fn a_file_that_says_something_else_than_the_configuration_is_refused() {
    let text = format!("key a {{ algorithm hmac-sha512; secret \"{BASE64}\"; }};");
    let refused = |name: &Name, algorithm| {
        Key::from_file_text(&text, Some(name), Some(algorithm)).unwrap_err().to_string()
    };
    let says = refused(&name("b"), Algorithm::HmacSha512);
    assert!(says.contains("configured as b, but its file says a"), "{says}");
    let says = refused(&name("a"), Algorithm::HmacSha256);
    assert!(says.contains("configured as hmac-sha256, but its file says hmac-sha512"), "{says}");
}

#[test]
fn what_is_no_key_is_refused_with_what_was_expected_and_never_with_the_secret() {
    let line = |text: &str| match Key::from_file_text(text, None, None).unwrap_err() {
        InvalidKey::Syntax { line, .. } => line,
        other => panic!("{text}: {other}"),
    };
    assert_eq!(line("kay a { };"), 1);
    assert_eq!(line("key { };"), 1);
    assert_eq!(line("key a {\n}\n;"), 3);
    assert_eq!(line("key a {\nalgorithm hmac-sha256\nsecret"), 3);
    assert_eq!(line(&format!("key a {{\nalgorithm hmac-sha256;\nsecret \"{BASE64}\"\n}};")), 4);
    assert_eq!(line(&format!("key a {{ algorithm hmac-sha256; secret \"{BASE64}\";\n")), 2);
    let twice = format!("key a {{ algorithm hmac-sha256; secret \"{BASE64}\"; }};\n").repeat(2);
    assert_eq!(line(&twice), 2);

    let weak = Key::from_file_text("key a { algorithm hmac-md5; secret \"x\"; };", None, None);
    assert_eq!(weak.unwrap_err(), InvalidKey::Algorithm("hmac-md5".into()));
    let nobody = Key::from_file_text("key \"a b\" { };", None, None);
    assert!(matches!(nobody.unwrap_err(), InvalidKey::Name(_)));
    for secret in ["c2VjcmV0c2VjcmV0c2VjcmV0!", "c2VjcmV0c2VjcmV0c2VjcmV", "", "a\nb"] {
        let error = Key::from_file_text(secret, Some(&name("a")), None).unwrap_err();
        assert!(!error.to_string().contains("c2Vj") && !error.to_string().contains('!'), "{error}");
    }
}

#[test]
fn a_secret_that_can_be_guessed_is_refused() {
    let new = |secret: &[u8]| Key::new(&name("a"), Algorithm::HmacSha256, secret);
    assert_eq!(new(&[1; 15]).unwrap_err(), InvalidKey::ShortSecret { bytes: 15 });
    assert!(new(&[1; 16]).is_ok());
    let says = Key::from_file_text("", Some(&name("a")), None).unwrap_err().to_string();
    assert!(says.contains("0 bytes") && says.contains("tsig-keygen"), "{says}");
}

#[test]
fn nothing_that_is_printed_shows_a_secret() {
    let key = Key::new(&name("a"), Algorithm::HmacSha256, b"0123456789abcdef").unwrap();
    assert_eq!(format!("{key:?}"), "Key { name: a, algorithm: HmacSha256, .. }");
    let (_, checking) = key.sign_request(vec![0; 12], 1).unwrap();
    assert_eq!(
        format!("{checking:?}"),
        "Checking { key: Key { name: a, algorithm: HmacSha256, .. }, id: 0, .. }"
    );
}

#[test]
fn two_keys_of_one_name_are_refused() {
    let key = |name: &Name| Key::new(name, Algorithm::HmacSha256, &[1; 16]).unwrap();
    let refused = Keys::new([key(&name("a")), key(&name("b")), key(&name("A"))]).unwrap_err();
    assert_eq!(refused.0, name("a"));
}

#[test]
fn algorithms_are_parsed_without_case_and_weaker_ones_refused() {
    assert_eq!("hmac-sha256".parse(), Ok(Algorithm::HmacSha256));
    assert_eq!("HMAC-SHA512".parse(), Ok(Algorithm::HmacSha512));
    for weak in ["hmac-md5", "hmac-sha1", "hmac-sha256-128", ""] {
        assert_eq!(weak.parse::<Algorithm>(), Err(InvalidKey::Algorithm(weak.into())));
    }
}
