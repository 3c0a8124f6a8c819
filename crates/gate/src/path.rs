//! [`Path`]: the path of a request, after checks that no upstream can read it differently.
//!
//! Servers disagree about escapes, dots, empty segments and what ends a path. A gate that allows
//! one path while the server behind it serves another one is no gate, so a path with two readings
//! is refused. Paths of procedures have no escapes at all: connect-go finds the method by the
//! decoded path, other servers by the path as it was sent.

use std::borrow::Cow;

use crate::reason::Reason;

/// The path of a request without its query, checked and decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path<'a> {
    text: Cow<'a, str>,
    is_procedure: bool,
}

/// Why the path of a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    #[error("the path does not begin with a slash")]
    Origin,
    #[error("the path has a character that is not allowed in it")]
    Character,
    #[error("the path has an empty segment, or one that consists of dots")]
    Segment,
    #[error("the path has a malformed escape, or one of a character that must not be escaped")]
    Escape,
    #[error("the path of a procedure has an escape")]
    EscapedProcedure,
    #[error("the path is another spelling of one that Gatekey answers itself")]
    Respelled,
}

impl InvalidPath {
    /// The word for it in metrics and headers.
    pub fn reason(self) -> Reason {
        Reason::Path
    }
}

impl<'a> Path<'a> {
    /// Checks the path of a request, as it was received and without its query.
    ///
    /// # Errors
    /// [`InvalidPath`], if an upstream could read the path in another way.
    pub fn parse(path: &'a str) -> Result<Self, InvalidPath> {
        if !path.starts_with('/') {
            return Err(InvalidPath::Origin);
        }
        if !path.bytes().all(is_allowed) {
            return Err(InvalidPath::Character);
        }
        let text = if path.contains('%') { Cow::Owned(decode(path)?) } else { Cow::Borrowed(path) };
        if !has_plain_segments(&text) {
            return Err(InvalidPath::Segment);
        }
        let is_procedure = is_procedure(&text);
        if is_procedure && matches!(text, Cow::Owned(_)) {
            return Err(InvalidPath::EscapedProcedure);
        }
        Ok(Self { text, is_procedure })
    }

    /// The decoded path.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the path has the form `/package.Service/Method` of procedures.
    pub fn is_procedure(&self) -> bool {
        self.is_procedure
    }
}

/// Whether a byte can be part of a path as it was received: RFC 3986 section 3.3 without `;`,
/// which begins parameters for some servers.
fn is_allowed(byte: u8) -> bool {
    ALLOWED[usize::from(byte)]
}

/// A table: every byte of every path is looked up in it.
const ALLOWED: [bool; 256] = {
    let marks = b"/%-._~!$&'()*+,=:@";
    let mut allowed = [false; 256];
    let mut byte = 0_u8;
    while byte.is_ascii() {
        allowed[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < marks.len() {
        allowed[marks[at] as usize] = true;
        at += 1;
    }
    allowed
};

/// Decodes escapes, once. An escape that another decoding would change, and one of a character that
/// divides or ends a path, is refused.
fn decode(path: &str) -> Result<String, InvalidPath> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(InvalidPath::Escape);
        };
        let byte = u8::try_from(high * 16 + low).map_err(|_| InvalidPath::Escape)?;
        if b"/.".contains(&byte) {
            return Err(InvalidPath::Escape);
        }
        decoded.push(byte);
    }
    let decoded = String::from_utf8(decoded).map_err(|_| InvalidPath::Escape)?;
    if decoded.chars().all(is_decoded) { Ok(decoded) } else { Err(InvalidPath::Escape) }
}

/// Whether a character can be part of a decoded path. Letters of other scripts can name things;
/// their other characters can look like a slash or a dot, and are one after normalization.
fn is_decoded(c: char) -> bool {
    match c {
        '%' | '\\' | ';' | '#' | '?' => false,
        _ if c.is_ascii() => !c.is_ascii_control(),
        _ => c.is_alphanumeric(),
    }
}

/// Whether a text is a decoded path, as an accepted path has one.
pub(crate) fn is_decoded_path(text: &str) -> bool {
    text.starts_with('/') && text.chars().all(is_decoded) && has_plain_segments(text)
}

/// Whether no segment but the last is empty, and none consists of dots: servers remove them.
fn has_plain_segments(path: &str) -> bool {
    let is_plain = |segment: &str| segment.is_empty() || segment.bytes().any(|byte| byte != b'.');
    let mut before = 0;
    !path.bytes().any(|byte| std::mem::replace(&mut before, byte) == b'/' && byte == b'/')
        && path.split('/').all(is_plain)
}

/// Whether a path has the form `/package.Service/Method` of procedures.
pub(crate) fn is_procedure(path: &str) -> bool {
    let parts = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    parts.is_some_and(|(service, method)| {
        service.contains('.') && service.split('.').all(is_identifier) && is_identifier(method)
    })
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::Procedure;

    /// Every trick of the table in `docs/security.md`, with the reason for the refusal.
    const TRICKS: &[(&str, InvalidPath)] = &[
        ("", InvalidPath::Origin),
        ("*", InvalidPath::Origin),
        ("a", InvalidPath::Origin),
        ("healthz", InvalidPath::Origin),
        ("http://h/healthz", InvalidPath::Origin),
        ("\\healthz", InvalidPath::Origin),
        ("%2fhealthz", InvalidPath::Origin),
        ("//h/healthz", InvalidPath::Segment),
        ("/a//b", InvalidPath::Segment),
        ("/.", InvalidPath::Segment),
        ("/..", InvalidPath::Segment),
        ("/a/./b", InvalidPath::Segment),
        ("/a/../b", InvalidPath::Segment),
        ("/a/.../b", InvalidPath::Segment),
        ("/a/..;/b", InvalidPath::Character),
        ("/a;x=1", InvalidPath::Character),
        ("/a%3bx=1", InvalidPath::Escape),
        ("/a#b", InvalidPath::Character),
        ("/a%23b", InvalidPath::Escape),
        ("/a?b", InvalidPath::Character),
        ("/a%3f/healthz", InvalidPath::Escape),
        ("/a\\b", InvalidPath::Character),
        ("/a%5cb", InvalidPath::Escape),
        ("/a%5Cb", InvalidPath::Escape),
        ("/a%2fb", InvalidPath::Escape),
        ("/a%2Fb", InvalidPath::Escape),
        ("/a/%2e/b", InvalidPath::Escape),
        ("/a/%2e%2e/b", InvalidPath::Escape),
        ("/a/.%2E/b", InvalidPath::Escape),
        ("/a/%252e%252e/b", InvalidPath::Escape),
        ("/a/%252fb", InvalidPath::Escape),
        ("/%25", InvalidPath::Escape),
        ("/a%", InvalidPath::Escape),
        ("/a%4", InvalidPath::Escape),
        ("/a%zz", InvalidPath::Escape),
        ("/a%+1", InvalidPath::Escape),
        ("/a%u002f", InvalidPath::Escape),
        ("/a\0", InvalidPath::Character),
        ("/a%00", InvalidPath::Escape),
        ("/a\tb", InvalidPath::Character),
        ("/a%09b", InvalidPath::Escape),
        ("/a%0d%0ab", InvalidPath::Escape),
        ("/a%7f", InvalidPath::Escape),
        ("/a b", InvalidPath::Character),
        ("/é", InvalidPath::Character),
        ("/a\u{80}", InvalidPath::Character),
        // One byte of 0x80 and above, overlong forms, and half a surrogate pair.
        ("/a%80", InvalidPath::Escape),
        ("/a/%c0%ae%c0%ae/b", InvalidPath::Escape),
        ("/a%c0%afb", InvalidPath::Escape),
        ("/a%ed%a0%80", InvalidPath::Escape),
        // A slash and a dot of full width.
        ("/a%ef%bc%8fb", InvalidPath::Escape),
        ("/a/%ef%bc%8e%ef%bc%8e/b", InvalidPath::Escape),
        ("/a{b", InvalidPath::Character),
        ("/a|b", InvalidPath::Character),
        ("/a\"b", InvalidPath::Character),
    ];

    #[test]
    fn a_path_with_two_readings_is_refused() {
        for (path, invalid) in TRICKS {
            assert_eq!(Path::parse(path), Err(*invalid), "{path:?}");
        }
    }

    #[test]
    fn an_accepted_path_is_decoded_once() {
        for (path, decoded) in [
            ("/", "/"),
            ("/a/", "/a/"),
            ("/healthz", "/healthz"),
            ("/.well-known/openid-configuration", "/.well-known/openid-configuration"),
            ("/v2/runs/r~1,b=c:d@e", "/v2/runs/r~1,b=c:d@e"),
            ("/console/%61%20b", "/console/a b"),
            ("/api/v1/tasks/p/d/n%C3%A9/v%2B1%3D", "/api/v1/tasks/p/d/né/v+1="),
            ("/a..b/c.", "/a..b/c."),
        ] {
            let path = Path::parse(path).unwrap();
            assert_eq!(path.as_str(), decoded);
            assert!(!path.is_procedure());
        }
    }

    /// connect-go finds the method by the decoded path.
    #[test]
    fn an_escaped_letter_of_a_procedure_is_refused() {
        for procedure in Procedure::all() {
            let path = &*procedure.path;
            assert!(Path::parse(path).unwrap().is_procedure(), "{path}");
            for (place, letter) in path.char_indices().skip(1) {
                for escape in
                    [format!("%{:02x}", u32::from(letter)), format!("%{:02X}", u32::from(letter))]
                {
                    let escaped = format!("{}{escape}{}", &path[..place], &path[place + 1..]);
                    assert!(Path::parse(&escaped).is_err(), "{escaped}");
                }
            }
        }
    }

    #[test]
    fn a_procedure_has_a_package() {
        for path in ["/a.B/C", "/a.b.C_1/D_2", "/_a.B/_C"] {
            assert!(Path::parse(path).unwrap().is_procedure(), "{path}");
        }
        for path in [
            "/A/B",
            "/a.B",
            "/a.B/",
            "/a.B/C/",
            "/a.B/C/D",
            "/.a.B/C",
            "/a.B./C",
            "/a..B/C",
            "/1.B/C",
            "/a.B/C.js",
            "/a.B/c-d",
            "/.well-known/C",
            "/a-b.C/D",
        ] {
            assert!(!Path::parse(path).unwrap().is_procedure(), "{path}");
        }
    }

    /// Decodes as the most lenient servers do: text that is not an escape stays.
    fn decode_leniently(text: &str) -> Vec<u8> {
        let bytes = text.as_bytes();
        let mut decoded = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let escape = bytes.get(at..at + 3).filter(|escape| escape[0] == b'%');
            let byte = escape
                .and_then(|escape| str::from_utf8(&escape[1..]).ok())
                .and_then(|digits| u8::from_str_radix(digits, 16).ok());
            decoded.push(byte.unwrap_or(bytes[at]));
            at += if byte.is_some() { 3 } else { 1 };
        }
        decoded
    }

    fn paths() -> impl Strategy<Value = String> {
        prop_oneof![
            "\\PC{0,30}",
            "/([a-zA-Z.;#?%/\\\\~ ]|%[0-9a-fA-F]{2}|%25[0-9a-f]{2}|\\.\\.|é){0,20}",
            "/[a-z]{1,3}(\\.|%2e)[A-Z%]{1,3}[0-9a-f]{0,2}/([A-Z]|%[4-7][0-9a-f]){1,4}/?",
        ]
    }

    proptest! {
        #[test]
        fn no_accepted_path_decodes_differently(path in paths()) {
            if let Ok(parsed) = Path::parse(&path) {
                let once = decode_leniently(&path);
                prop_assert_eq!(parsed.as_str().as_bytes(), &once);
                prop_assert_eq!(decode_leniently(parsed.as_str()), once, "{}", path);
                prop_assert!(is_decoded_path(parsed.as_str()));
                let slashes = |text: &str| text.matches('/').count();
                prop_assert_eq!(slashes(&path), slashes(parsed.as_str()));
                if parsed.is_procedure() {
                    prop_assert_eq!(parsed.as_str(), &path);
                }
            }
        }

        #[test]
        fn a_decoded_path_is_read_as_itself(path in paths()) {
            if let Ok(parsed) = Path::parse(&path)
                && let Ok(again) = Path::parse(parsed.as_str())
            {
                prop_assert_eq!(&again, &parsed);
            }
        }
    }
}
