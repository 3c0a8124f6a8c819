//! Turns plain HTTP with JSON (`google.api.http`) into a Connect call, so that such a request
//! passes the same authorization, limits and handlers as any other, and gets the same errors.
//!
//! [`match_binding`] finds the method before the caller is authorized; [`transcode`] reads path,
//! query and body afterwards.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{MatchedPath, Request},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri,
        header::{
            ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
            WWW_AUTHENTICATE,
        },
    },
    middleware::Next,
    response::Response,
};
use buffa_descriptor::{DescriptorPool, FieldKind, MessageIndex, ScalarType, SingularKind};
use connectrpc::ConnectError;
use gatekey_authn::bearer;
use gatekey_core::Error;
use gatekey_telemetry::Record;
use serde_json::{Map, Value, error::Category};
use tokio::time::timeout;
use url::form_urlencoded;

use super::{
    access,
    bindings::{Binding, Bindings, BodyPart, last_name},
    distinct::Distinct,
    error,
    limits::{DEFAULT_DEADLINE, MAX_REQUEST, MAX_SMALL_REQUEST},
    plain_json,
};

/// The binding that a request matched, with what [`match_binding`] replaced.
#[derive(Clone)]
struct MatchedBinding {
    binding: &'static Binding,
    /// The request's own URI.
    uri: Uri,
    /// Whether the content type is JSON.
    json: bool,
}

/// Replaces the request's path by the path of the procedure that it is bound to.
pub async fn match_binding(path: MatchedPath, mut request: Request, next: Next) -> Response {
    let head = request.method() == Method::HEAD;
    let method = if head { &Method::GET } else { request.method() };
    let bindings = Bindings::get();
    let Some(binding) = bindings.of_path(path.as_str()).find(|binding| binding.method == *method)
    else {
        let allowed = allowed(bindings, path.as_str());
        let refusal = error::method_not_allowed(format!("allowed methods: {allowed}"));
        let mut response = error::respond(refusal, &HeaderMap::new());
        let allowed = HeaderValue::from_str(&allowed).expect("names of methods are plain text");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    };
    let json = match check_headers(request.headers()) {
        Ok(json) => json,
        Err(refusal) => {
            let mut response = error::respond(refusal, &HeaderMap::new());
            if is_encoded(request.headers()) {
                // Distinguishes a wrong coding from a wrong type (RFC 9110 section 15.5.16).
                let identity = HeaderValue::from_static("identity");
                response.headers_mut().insert(ACCEPT_ENCODING, identity);
            }
            return response;
        }
    };
    // The call is Connect with JSON, whatever else these headers claim.
    let foreign = |name: &str| name.starts_with("connect-") || name.starts_with("grpc-");
    let foreign: Vec<_> =
        request.headers().keys().filter(|name| foreign(name.as_str())).cloned().collect();
    for name in foreign {
        request.headers_mut().remove(name);
    }
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if plain_json::has_words(&bindings.pool, binding.output) {
        // The response is read before it is sent.
        request.headers_mut().remove(ACCEPT_ENCODING);
    }
    let uri = std::mem::replace(request.uri_mut(), binding.procedure.clone());
    if let Some(record) = request.extensions().get::<Arc<Record>>() {
        record.set_route(&binding.path);
    }
    request.extensions_mut().insert(MatchedBinding { binding, uri, json });
    let mut response = next.run(request).await;
    if response.status() == StatusCode::UNAUTHORIZED {
        // RFC 9110 section 15.5.2 requires a challenge; Connect sends none.
        response.headers_mut().entry(WWW_AUTHENTICATE).or_insert(bearer::CHALLENGE);
    }
    response
}

/// Returns the methods of a path, such as `GET, HEAD, POST`.
fn allowed(bindings: &Bindings, path: &str) -> String {
    let mut allowed: Vec<_> =
        bindings.of_path(path).map(|binding| binding.method.as_str()).collect();
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    allowed.sort_unstable();
    allowed.join(", ")
}

/// Returns whether the body is declared as JSON, and refuses one that is declared as something
/// else.
fn check_headers(headers: &HeaderMap) -> Result<bool, ConnectError> {
    let text = |value: &HeaderValue| value.to_str().unwrap_or("\u{fffd}").to_ascii_lowercase();
    if is_encoded(headers) {
        return Err(error::unsupported_media_type("content-encoding must be absent or identity"));
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter().map(text);
    match (types.next(), types.next()) {
        (None, _) => Ok(false),
        (Some(one), None)
            if one.split(';').next().is_some_and(|one| one.trim() == "application/json") =>
        {
            Ok(true)
        }
        (Some(_), _) => Err(error::unsupported_media_type("content-type must be application/json")),
    }
}

/// Returns whether the body is compressed.
fn is_encoded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Converts the request into a Connect call: path, query and body become the message.
pub async fn transcode(request: Request, next: Next) -> Response {
    let binding = request.extensions().get::<MatchedBinding>().map(|matched| matched.binding);
    match (to_call(request).await, binding) {
        (Ok(call), Some(binding)) => with_words(binding, next.run(call).await).await,
        (Ok(call), None) => next.run(call).await,
        (Err(refusal), _) => error::respond(refusal, &HeaderMap::new()),
    }
}

/// Bytes of a response, which is the server's own: a page has at most a thousand keys.
const MAX_RESPONSE: usize = 1 << 28;

/// Replaces names of the protos in a response by words.
async fn with_words(binding: &Binding, response: Response) -> Response {
    let pool = &Bindings::get().pool;
    if response.status() != StatusCode::OK || !plain_json::has_words(pool, binding.output) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let read = to_bytes(body, MAX_RESPONSE).await.ok();
    let Some(mut message) = read.and_then(|bytes| serde_json::from_slice(&bytes).ok()) else {
        return error::respond(ConnectError::internal("internal error"), &HeaderMap::new());
    };
    plain_json::write(pool, binding.output, &mut message);
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(message.to_string()))
}

async fn to_call(request: Request) -> Result<Request, ConnectError> {
    let (mut parts, body) = request.into_parts();
    let matched = parts.extensions.remove::<MatchedBinding>();
    let MatchedBinding { binding, uri, json } =
        matched.ok_or_else(|| ConnectError::internal("internal error"))?;
    let in_path = path_values(binding, uri.path()).map_err(error::render)?;
    let limit = if access::without_role().any(|open| open == binding.procedure.path()) {
        MAX_SMALL_REQUEST
    } else {
        MAX_REQUEST
    };
    let body = read(body, if binding.has_body() { limit } else { 0 }).await?;
    if !body.is_empty() && !json {
        return Err(error::unsupported_media_type("content-type must be application/json"));
    }
    let query = uri.query().unwrap_or_default();
    let message = to_message(binding, &body, query, in_path).map_err(error::render)?;
    let message = Bytes::from(serde_json::to_vec(&message).expect("a JSON object can be written"));
    parts.method = Method::POST;
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(message.len()));
    Ok(Request::from_parts(parts, Body::from(message)))
}

/// Returns the request's message in proto3's JSON.
fn to_message(
    binding: &Binding,
    body: &[u8],
    query: &str,
    in_path: Vec<(&str, String)>,
) -> Result<Map<String, Value>, Error> {
    let pool = &Bindings::get().pool;
    if binding.body == BodyPart::Whole && !query.is_empty() {
        let rule = "parameters are not supported here; send them in the body";
        return Err(Error::invalid("query", rule));
    }
    let mut message = from_query(pool, binding, query)?;
    if let Some((of, field)) = binding.body_message(pool) {
        let mut object = object(body)?;
        plain_json::read(pool, of, &mut object)?;
        match field {
            None => message = object,
            Some(field) => {
                if !message.contains_key(UPDATE_MASK) {
                    message.insert(UPDATE_MASK.to_owned(), mask_of(&object, &in_path).into());
                }
                message.insert(field.to_owned(), Value::Object(object));
            }
        }
    }
    for (field, value) in in_path {
        put_path(&mut message, field, value);
    }
    Ok(message)
}

/// The field that names what a partial update changes (<https://google.aip.dev/134>).
const UPDATE_MASK: &str = "update_mask";

/// Returns the mask of the members of a body, except fields of the path.
fn mask_of(body: &Map<String, Value>, in_path: &[(&str, String)]) -> String {
    let names = body.keys().map(|name| json_name(name));
    let is_in_path =
        |name: &String| in_path.iter().any(|(field, _)| json_name(last_name(field)) == *name);
    names.filter(|name| !is_in_path(name)).collect::<Vec<_>>().join(",")
}

/// Sets a field of the path, which takes precedence over the body.
fn put_path(message: &mut Map<String, Value>, field: &str, value: String) {
    match field.split_once('.') {
        None => {
            message.remove(&json_name(field));
            message.insert(field.to_owned(), Value::String(value));
        }
        Some((first, rest)) => {
            let inner = message.entry(first).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put_path(inner, rest, value);
            }
        }
    }
}

/// Parses a body, which may be empty.
fn object(body: &[u8]) -> Result<Map<String, Value>, Error> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    let parsed: Distinct = serde_json::from_slice(body).map_err(|cause| {
        let place = format!("line {} column {}", cause.line(), cause.column());
        let rule = match cause.classify() {
            Category::Data => format!("has a member twice, at {place}"),
            Category::Io | Category::Syntax | Category::Eof => {
                format!("must be a JSON object; invalid at {place}")
            }
        };
        Error::invalid("body", rule)
    })?;
    match parsed.0 {
        Value::Object(object) => Ok(object),
        _ => Err(Error::invalid("body", "must be a JSON object")),
    }
}

/// Reads a body of at most `limit` bytes.
async fn read(body: Body, limit: usize) -> Result<Bytes, ConnectError> {
    let arrived = timeout(DEFAULT_DEADLINE, to_bytes(body, limit)).await;
    let arrived = arrived
        .map_err(|_| ConnectError::deadline_exceeded("the request body did not arrive in time"))?;
    arrived.map_err(|cause| {
        let too_large = std::error::Error::source(&cause)
            .is_some_and(<dyn std::error::Error + 'static>::is::<http_body_util::LengthLimitError>);
        match (too_large, limit) {
            (true, 0) => error::render(Error::invalid("body", "must be empty for this method")),
            (true, limit) => ConnectError::resource_exhausted(format!(
                "the request body is larger than {limit} bytes"
            )),
            (false, _) => ConnectError::canceled("the request body did not arrive whole"),
        }
    })
}

/// Returns the fields in a path, decoded.
fn path_values<'b>(binding: &'b Binding, path: &str) -> Result<Vec<(&'b str, String)>, Error> {
    let segments: Vec<_> = path.split('/').collect();
    let value = |(at, field): (usize, &'b str)| {
        let decoded = segments.get(at).and_then(|segment| decode(segment));
        let decoded = decoded.filter(|decoded| !decoded.is_empty() && !decoded.contains('/'));
        decoded.map(|decoded| (field, decoded)).ok_or_else(|| {
            let name = last_name(field);
            let rule = format!("must contain {name} as one segment, UTF-8 and percent-encoded");
            Error::invalid("path", rule)
        })
    };
    binding.path_fields().map(value).collect()
}

/// Decodes a percent-encoded segment (RFC 3986 section 2.1); `None` for an invalid escape or
/// invalid UTF-8.
fn decode(segment: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let (high, low) = (rest.first()?, rest.get(1)?);
            let digit = |byte: &u8| char::from(*byte).to_digit(16);
            decoded.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
            rest = &rest[2..];
        } else {
            decoded.push(*byte);
        }
    }
    String::from_utf8(decoded).ok()
}

/// Returns the JSON name of a field, such as `clientId` for `client_id`.
fn json_name(field: &str) -> String {
    let mut name = String::with_capacity(field.len());
    for part in field.split('_') {
        match part.chars().next() {
            Some(first) if !name.is_empty() => {
                name.push(first.to_ascii_uppercase());
                name.push_str(&part[first.len_utf8()..]);
            }
            Some(_) | None => name.push_str(part),
        }
    }
    name
}

/// Reads a message from a query.
///
/// A parameter is the name of a field in the proto or in JSON, with dots for nested messages, once
/// per value. Fields in the path are ignored.
fn from_query(
    pool: &DescriptorPool,
    binding: &Binding,
    query: &str,
) -> Result<Map<String, Value>, Error> {
    let mut message = Map::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let refuse = |rule: &str| {
            let shown = gatekey_core::redact(&name, 64);
            Error::invalid("query", format!("parameter {shown:?} {rule}"))
        };
        // The decoder writes this character for bytes that are not UTF-8.
        if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
            return Err(refuse("does not decode to UTF-8"));
        }
        if binding.path_fields().any(|(_, field)| name == field || name == json_name(field)) {
            continue;
        }
        if let BodyPart::Field(in_body) = &binding.body {
            let first = name.split('.').next().unwrap_or_default();
            if first == in_body || first == json_name(in_body) {
                return Err(refuse("belongs in the body"));
            }
        }
        put(pool, binding.input, &name, &value, &mut message).map_err(refuse)?;
    }
    Ok(message)
}

/// The message whose JSON is a list of paths, separated by commas.
pub(crate) const FIELD_MASK: &str = "google.protobuf.FieldMask";

/// Puts one parameter into a message, or returns why that is not possible.
fn put(
    pool: &DescriptorPool,
    message: MessageIndex,
    name: &str,
    value: &str,
    into: &mut Map<String, Value>,
) -> Result<(), &'static str> {
    let (first, rest) =
        name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    let mut fields = pool.message(message).fields().iter();
    let field = fields.find(|field| field.name() == first || field.json_name() == first);
    let field = field.ok_or("is not a field of this request")?;
    match (field.kind(), rest) {
        (FieldKind::Singular(SingularKind::Message(inner)), None)
            if pool.message(inner).full_name() == FIELD_MASK =>
        {
            let paths: Vec<_> = value.split(',').map(json_name).collect();
            match into.insert(field.name().to_owned(), Value::from(paths.join(","))) {
                None => Ok(()),
                Some(_) => Err("is given twice"),
            }
        }
        (FieldKind::Singular(SingularKind::Message(inner)), Some(rest)) => {
            let place = into.entry(field.name()).or_insert_with(|| Value::Object(Map::new()));
            let place = place.as_object_mut().ok_or("is given twice")?;
            put(pool, inner, rest, value, place)
        }
        (FieldKind::Singular(kind @ (SingularKind::Scalar(_) | SingularKind::Enum(_))), None) => {
            let value = single(pool, kind, value)?;
            match into.insert(field.name().to_owned(), value) {
                None => Ok(()),
                Some(_) => Err("is given twice"),
            }
        }
        (FieldKind::List(kind @ (SingularKind::Scalar(_) | SingularKind::Enum(_))), None) => {
            let value = single(pool, kind, value)?;
            let place = into.entry(field.name()).or_insert_with(|| Value::Array(Vec::new()));
            place.as_array_mut().ok_or("is given twice")?.push(value);
            Ok(())
        }
        (
            FieldKind::Singular(SingularKind::Message(_))
            | FieldKind::List(_)
            | FieldKind::Map { .. },
            _,
        ) => Err("is not supported in a query; call the RPC with JSON instead, on the same port"),
        (FieldKind::Singular(_), Some(_)) => Err("is not a field of this request"),
    }
}

/// Converts one value to proto3's JSON.
fn single(pool: &DescriptorPool, kind: SingularKind, value: &str) -> Result<Value, &'static str> {
    match kind {
        SingularKind::Scalar(ScalarType::String) => Ok(Value::from(value)),
        SingularKind::Scalar(ScalarType::Bool) => {
            value.parse::<bool>().map(Value::from).map_err(|_| "must be true or false")
        }
        SingularKind::Scalar(ScalarType::Uint32 | ScalarType::Fixed32) => value
            .parse::<u32>()
            .map(Value::from)
            .map_err(|_| "must be a number from 0 to 4294967295"),
        SingularKind::Scalar(ScalarType::Int32 | ScalarType::Sint32 | ScalarType::Sfixed32) => {
            value
                .parse::<i32>()
                .map(Value::from)
                .map_err(|_| "must be a whole number from -2147483648 to 2147483647")
        }
        SingularKind::Enum(of) => {
            let known = pool.enumeration(of).values();
            let named = known.iter().any(|known| known.name() == value);
            match value.parse::<i32>() {
                // The method checks the number.
                Ok(number) => Ok(Value::from(number)),
                Err(_) if named => Ok(Value::from(value)),
                Err(_) => Err("is not a name of this enum"),
            }
        }
        SingularKind::Scalar(
            ScalarType::Double
            | ScalarType::Float
            | ScalarType::Int64
            | ScalarType::Uint64
            | ScalarType::Fixed64
            | ScalarType::Sfixed64
            | ScalarType::Sint64
            | ScalarType::Bytes,
        )
        | SingularKind::Message(_) => Err("is not supported in a query"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list() -> &'static Binding {
        Bindings::get().iter().find(|binding| binding.procedure.path().ends_with("/List")).unwrap()
    }

    fn query(query: &str) -> Result<Value, String> {
        let message = from_query(&Bindings::get().pool, list(), query);
        message.map(Value::Object).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_query_may_name_nested_fields() {
        let said = query(
            "organization=o&request.limit=7&request.sortBy.key=client_id&request.raw_filters=a&request.rawFilters=b",
        );
        let expected = serde_json::json!({
            "organization": "o",
            "request": { "limit": 7, "sort_by": { "key": "client_id" }, "raw_filters": ["a", "b"] },
        });
        assert_eq!(said.unwrap(), expected);
    }

    #[test]
    fn a_json_name_is_the_camel_cased_name() {
        assert_eq!(json_name("client_id"), "clientId");
        assert_eq!(json_name("organization"), "organization");
    }

    proptest! {
        #[test]
        fn a_segment_decodes_to_what_was_encoded(text in "\\PC{0,40}") {
            let encoded: Vec<_> = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let encoded = encoded.concat();
            prop_assert_eq!(decode(&encoded), Some(text));
        }

        #[test]
        fn no_query_or_path_makes_parsers_panic(text in "\\PC{0,200}") {
            let _ = query(&text);
            let _ = decode(&text);
            for binding in Bindings::get().iter() {
                let _ = path_values(binding, &text);
            }
        }
    }
}
