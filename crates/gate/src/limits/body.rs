//! The message in the body of a request, whatever the protocol and the compression.

use std::{borrow::Cow, io::Read as _};

use base64::{
    Engine as _, alphabet,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD},
    },
};
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, HeaderName, Method, header};

use super::unreadable::Unreadable;

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Protobuf,
    Json,
}

/// The message of a request.
pub(super) struct Found<'b> {
    pub(super) codec: Codec,
    pub(super) message: Cow<'b, [u8]>,
}

/// Base64 for URLs, with or without padding, as Connect allows.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const CONNECT_ENCODING: HeaderName = HeaderName::from_static("connect-content-encoding");

/// Finds the message in a call of a procedure. `most` bounds a message after decompression.
///
/// # Errors
/// When the message cannot be read in exactly one way.
pub(super) fn find<'b>(
    method: &Method,
    query: Option<&str>,
    headers: &HeaderMap,
    body: &'b [u8],
    most: usize,
) -> Result<Found<'b>, Unreadable> {
    if *method == Method::GET || *method == Method::HEAD {
        return in_query(query.unwrap_or_default(), most);
    }
    // gRPC and Connect pass a query to their handlers, and read none.
    let media_type = only(headers, &header::CONTENT_TYPE)?.unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (kind, codec) = match media_type.split_once('+') {
        Some((kind, codec)) => (kind, Some(codec)),
        None => (&*media_type, None),
    };
    let content_encoding = only(headers, &header::CONTENT_ENCODING)?;
    match (kind, codec) {
        ("application/grpc" | "application/grpc-web", None | Some("proto")) => {
            // flyteadmin's HTTP layer would decode it, and gRPC's would not.
            if content_encoding.is_some() {
                return Err(Unreadable::Encoding);
            }
            let encoding = only(headers, &GRPC_ENCODING)?;
            let message = enveloped(Cow::Borrowed(body), encoding, most)?;
            Ok(Found { codec: Codec::Protobuf, message })
        }
        ("application/grpc-web-text", None | Some("proto")) => {
            if content_encoding.is_some() {
                return Err(Unreadable::Encoding);
            }
            let encoding = only(headers, &GRPC_ENCODING)?;
            let decoded = STANDARD.decode(body).map_err(|_| Unreadable::Malformed)?;
            let message = enveloped(Cow::Owned(decoded), encoding, most)?;
            Ok(Found { codec: Codec::Protobuf, message })
        }
        ("application/connect", Some(codec @ ("proto" | "json"))) => {
            if content_encoding.is_some() {
                return Err(Unreadable::Encoding);
            }
            let encoding = only(headers, &CONNECT_ENCODING)?;
            let codec = if codec == "json" { Codec::Json } else { Codec::Protobuf };
            Ok(Found { codec, message: enveloped(Cow::Borrowed(body), encoding, most)? })
        }
        ("application/proto" | "application/json", None) => {
            let codec = if kind == "application/json" { Codec::Json } else { Codec::Protobuf };
            let message = Cow::Borrowed(body);
            Ok(Found { codec, message: decompressed(message, content_encoding, most)? })
        }
        _ => Err(Unreadable::Encoding),
    }
}

/// The body of a call by plain HTTP, without its compression.
pub(super) fn decoded<'b>(
    headers: &HeaderMap,
    body: &'b [u8],
    most: usize,
) -> Result<Cow<'b, [u8]>, Unreadable> {
    let content_encoding = only(headers, &header::CONTENT_ENCODING)?;
    decompressed(Cow::Borrowed(body), content_encoding, most)
}

/// The only value of a header.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Unreadable> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Unreadable::Repeated);
    }
    value.to_str().map(|text| Some(text.trim())).map_err(|_| Unreadable::Malformed)
}

/// The message of a Connect GET: `message`, `base64`, `encoding` and `compression`.
fn in_query(query: &str, most: usize) -> Result<Found<'static>, Unreadable> {
    const NAMES: [&str; 4] = ["message", "base64", "encoding", "compression"];
    let mut known: [Option<String>; 4] = Default::default();
    // A server may divide at semicolons as well.
    if query.contains(';') {
        return Err(Unreadable::Malformed);
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (unescaped(name)?, unescaped(value)?);
        if let Some(place) = NAMES.iter().position(|known| known.as_bytes() == name) {
            let value = String::from_utf8(value).map_err(|_| Unreadable::Malformed)?;
            if known[place].replace(value).is_some() {
                return Err(Unreadable::Repeated);
            }
        }
    }
    let [message, base64, encoding, compression] = known;
    let codec = match encoding.as_deref() {
        Some("proto") => Codec::Protobuf,
        Some("json") => Codec::Json,
        _ => return Err(Unreadable::Encoding),
    };
    let message = message.ok_or(Unreadable::Malformed)?;
    let message = match base64.as_deref() {
        Some("1") => BASE64URL.decode(message).map_err(|_| Unreadable::Malformed)?,
        None | Some("0") => message.into_bytes(),
        Some(_) => return Err(Unreadable::Malformed),
    };
    let compression = compression.as_deref().filter(|name| !name.is_empty());
    let message = decompressed(Cow::Owned(message), compression, most)?;
    Ok(Found { codec, message })
}

/// Decodes escapes and plus signs of a query.
pub(super) fn unescaped(text: &str) -> Result<Vec<u8>, Unreadable> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err(Unreadable::Malformed);
                };
                u8::try_from(high * 16 + low).map_err(|_| Unreadable::Malformed)?
            }
            other => other,
        });
    }
    Ok(decoded)
}

/// The only message of a body of envelopes: a flag, a length of four bytes, and the message.
fn enveloped<'b>(
    body: Cow<'b, [u8]>,
    encoding: Option<&str>,
    most: usize,
) -> Result<Cow<'b, [u8]>, Unreadable> {
    let Some((header, rest)) = body.split_first_chunk::<5>() else {
        return Err(Unreadable::Malformed);
    };
    let [flag, length @ ..] = *header;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| Unreadable::TooLarge)?;
    // No public procedure takes a second message.
    if rest.len() != length {
        return Err(Unreadable::Malformed);
    }
    let message = match body {
        Cow::Borrowed(body) => Cow::Borrowed(&body[5..]),
        Cow::Owned(mut body) => {
            body.drain(..5);
            Cow::Owned(body)
        }
    };
    match flag {
        0 => Ok(message),
        // Compressed without a name is nothing.
        1 => decompressed(message, Some(encoding.ok_or(Unreadable::Encoding)?), most),
        _ => Err(Unreadable::Malformed),
    }
}

fn decompressed<'b>(
    message: Cow<'b, [u8]>,
    encoding: Option<&str>,
    most: usize,
) -> Result<Cow<'b, [u8]>, Unreadable> {
    match encoding {
        None | Some("identity") => Ok(message),
        Some(name) if name.eq_ignore_ascii_case("gzip") => {
            // Connect and gRPC take nothing as an empty message, whatever the encoding.
            if message.is_empty() {
                return Ok(message);
            }
            let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
            let mut plain = Vec::new();
            // Go's reader continues with the next member of a file, and so does this one.
            MultiGzDecoder::new(&*message)
                .take(limit)
                .read_to_end(&mut plain)
                .map_err(|_| Unreadable::Malformed)?;
            if plain.len() > most { Err(Unreadable::TooLarge) } else { Ok(Cow::Owned(plain)) }
        }
        Some(_) => Err(Unreadable::Encoding),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 1000;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn envelope(flag: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[flag], length.as_slice(), message].concat()
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    fn post(
        pairs: &[(&'static str, &'static str)],
        body: &[u8],
    ) -> Result<(Codec, Vec<u8>), Unreadable> {
        let found = find(&Method::POST, None, &headers(pairs), body, MOST)?;
        Ok((found.codec, found.message.into_owned()))
    }

    fn get(query: &str) -> Result<(Codec, Vec<u8>), Unreadable> {
        let found = find(&Method::GET, Some(query), &HeaderMap::new(), b"", MOST)?;
        Ok((found.codec, found.message.into_owned()))
    }

    #[test]
    fn every_protocol_has_one_message() {
        let (proto, json) = ((Codec::Protobuf, b"abc".to_vec()), (Codec::Json, b"abc".to_vec()));
        let plain = envelope(0, b"abc");
        let compressed = envelope(1, &gzip(b"abc"));
        let base64 = STANDARD.encode(&plain);
        for (content_type, encoding, body, expected) in [
            ("application/grpc", ("te", "trailers"), &plain, &proto),
            ("application/grpc+proto", ("grpc-encoding", "gzip"), &plain, &proto),
            ("application/grpc", ("grpc-encoding", "gzip"), &compressed, &proto),
            ("application/grpc-web+proto", ("grpc-encoding", "gzip"), &compressed, &proto),
            ("application/grpc-web-text", ("te", "x"), &base64.into_bytes(), &proto),
            ("application/connect+proto", ("te", "x"), &plain, &proto),
            ("application/connect+json", ("connect-content-encoding", "gzip"), &compressed, &json),
            ("application/proto", ("content-encoding", "identity"), &b"abc".to_vec(), &proto),
            ("application/proto", ("content-encoding", "gzip"), &gzip(b"abc"), &proto),
            ("Application/JSON; charset=utf-8", ("te", "x"), &b"abc".to_vec(), &json),
        ] {
            let found = post(&[("content-type", content_type), encoding], body);
            assert_eq!(found.as_ref(), Ok(expected), "{content_type} {encoding:?}");
        }
    }

    #[test]
    fn an_unknown_encoding_is_refused() {
        let plain = envelope(0, b"abc");
        for pairs in [
            &[("content-type", "application/grpc+json")] as &[_],
            &[("content-type", "application/grpc-web-text+json")],
            &[("content-type", "application/connect")],
            &[("content-type", "application/connect+cbor")],
            &[("content-type", "text/plain")],
            &[("content-type", "application/grpc"), ("content-encoding", "gzip")],
            &[],
        ] {
            assert_eq!(post(pairs, &plain), Err(Unreadable::Encoding), "{pairs:?}");
        }
        let compressed = envelope(1, b"abc");
        for encoding in [("grpc-encoding", "zstd"), ("te", "trailers")] {
            let refused = post(&[("content-type", "application/grpc"), encoding], &compressed);
            assert_eq!(refused, Err(Unreadable::Encoding));
        }
        let two = &[("content-type", "application/proto"), ("content-encoding", "gzip, gzip")];
        assert_eq!(post(two, b"abc"), Err(Unreadable::Encoding));
        let mut twice = headers(&[("content-type", "application/proto")]);
        twice.append(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let refused = find(&Method::POST, None, &twice, b"", MOST).map(|found| found.codec);
        assert_eq!(refused, Err(Unreadable::Repeated));
    }

    #[test]
    fn only_one_whole_envelope_is_read() {
        let grpc = &[("content-type", "application/grpc")];
        let two = [envelope(0, b"a"), envelope(0, b"b")].concat();
        for body in [
            b"" as &[u8],
            b"\0\0\0\0",
            b"\0\0\0\0\x02a",
            &two,
            &envelope(2, b"a"),
            &envelope(0x80, b"a"),
        ] {
            assert_eq!(post(grpc, body), Err(Unreadable::Malformed), "{body:?}");
        }
        assert_eq!(post(grpc, &envelope(0, b"")), Ok((Codec::Protobuf, Vec::new())));
    }

    #[test]
    fn a_decompressed_message_is_bounded() {
        let bomb = envelope(1, &gzip(&vec![0; 1_000_000]));
        let grpc = &[("content-type", "application/grpc"), ("grpc-encoding", "gzip")];
        assert_eq!(post(grpc, &bomb), Err(Unreadable::TooLarge));
        let two_members = [gzip(b"ab"), gzip(b"c")].concat();
        assert_eq!(post(grpc, &envelope(1, &two_members)), Ok((Codec::Protobuf, b"abc".to_vec())));
    }

    #[test]
    fn a_connect_gets_message_is_in_the_query() {
        let (proto, json) =
            (Ok((Codec::Protobuf, b"abc".to_vec())), Ok((Codec::Json, b"{}".to_vec())));
        assert_eq!(get("connect=v1&encoding=proto&base64=1&message=YWJj"), proto);
        assert_eq!(get("message=abc&encoding=proto"), proto);
        assert_eq!(get("m%65ssage=%61bc&encoding=proto&compression=identity"), proto);
        assert_eq!(get("encoding=json&message=%7B%7D"), json);
        let compressed = BASE64URL.encode(gzip(b"abc"));
        let query = format!("encoding=proto&base64=1&compression=gzip&message={compressed}");
        assert_eq!(get(&query), proto);
        for query in [
            "",
            "encoding=proto",
            "encoding=proto&message=a&m%65ssage=b",
            "encoding=proto&message=a&base64=true",
            "encoding=proto&message=%4",
            "encoding=proto;message=a",
            "encoding=cbor&message=a",
            "message=a",
            "encoding=proto&message=a&compression=br",
        ] {
            assert!(get(query).is_err(), "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(kind in 0..6_usize, body in prop::collection::vec(any::<u8>(), 0..64), query in "\\PC{0,40}") {
            let content_type = ["application/grpc", "application/grpc-web-text", "application/connect+json", "application/json", "application/proto", "x"][kind];
            let pairs = [("content-type", content_type), ("grpc-encoding", "gzip"), ("connect-content-encoding", "gzip")];
            let _ = post(&pairs, &body);
            let _ = get(&query);
        }
    }
}
