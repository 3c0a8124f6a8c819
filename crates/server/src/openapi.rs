//! `/openapi.json`: the plain HTTP interface (OpenAPI 3.1), generated from the table of endpoints,
//! their response types and the protos. RPC describes itself through server reflection.

use std::sync::{Arc, LazyLock};

use axum::{
    body::Bytes,
    extract::State,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use buffa_descriptor::{
    DescriptorPool, FieldKind, MessageIndex, ScalarType, SingularKind,
    generated::descriptor::FileDescriptorProto,
};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    endpoint::{Credential, Endpoint, Methods},
    oauth::error::ErrorResponse,
    path,
    rpc::{
        access::{Access, access},
        bindings::{Binding, Bindings, BodyPart, last_name},
        plain_json::{self, is_well_known},
        transcode,
    },
};

mod messages;

/// The document as bytes, created when it is first requested.
pub type LazyDocument = LazyLock<Bytes, Box<dyn FnOnce() -> Bytes + Send>>;

/// Defers creating the document: few servers are ever asked for it.
pub fn lazy(document: impl FnOnce() -> Value + Send + 'static) -> LazyDocument {
    LazyLock::new(Box::new(move || {
        Bytes::from(serde_json::to_vec(&document()).expect("a JSON value can be written"))
    }))
}

/// Serves the document.
pub async fn handle(State(document): State<Arc<LazyDocument>>) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=300")];
    (headers, LazyLock::force(&document).clone()).into_response()
}

/// Describes the endpoints and bindings of a server.
pub fn document<S>(issuer: &str, endpoints: &[Endpoint<S>], bindings: &'static Bindings) -> Value {
    let mut schemas = Schemas::new(&bindings.pool);
    let mut paths = Map::new();
    for endpoint in endpoints {
        // OpenAPI has no wildcards.
        let path = endpoint.path.replace("{*", "{");
        paths.insert(path, Value::Object(schemas.endpoint(endpoint)));
    }
    for binding in bindings.iter() {
        let methods = paths.entry(binding.path.clone()).or_insert_with(|| json!({}));
        methods[binding.method.as_str().to_ascii_lowercase()] = schemas.binding(binding);
    }
    let oauth_error = schemas.generator.subschema_for::<ErrorResponse>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Gatekey",
            "summary": "API keys for the Flyte you host yourself",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT or Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": issuer }],
        "paths": paths,
        "components": {
            "schemas": schemas.take(),
            "responses": {
                "OAuthError": {
                    "description": "An error (RFC 6749 section 5.2)",
                    "content": { "application/json": { "schema": oauth_error } },
                },
                "Refusal": { "description": "A refusal, in the protocol of the request that may not pass" },
                "RpcError": {
                    "description": "An error, with a code of the Connect protocol",
                    "content": { "application/json": { "schema": rpc_error() } },
                },
            },
            "securitySchemes": {
                "secret": { "type": "http", "scheme": "basic", "description": "A key's client id and secret" },
                "token": {
                    "type": "oauth2",
                    "description": "An access token of a key",
                    "flows": {
                        "clientCredentials": {
                            "tokenUrl": format!("{issuer}{}", path::TOKEN),
                            "scopes": { "all": "All that the key's role allows" },
                        },
                    },
                },
            },
        },
    })
}

/// The schema of an error (<https://connectrpc.com/docs/protocol#error-end-stream>).
fn rpc_error() -> Value {
    json!({
        "type": "object",
        "required": ["code"],
        "properties": {
            "code": { "type": "string", "description": "Such as not_found" },
            "message": { "type": "string", "description": "For people" },
            "details": { "type": "array", "items": { "type": "object" } },
        },
    })
}

/// Collects the schemas that paths refer to.
struct Schemas {
    generator: SchemaGenerator,
    pool: &'static DescriptorPool,
    /// The same messages, with comments.
    commented: DescriptorPool,
    messages: Map<String, Value>,
}

impl Schemas {
    fn new(pool: &'static DescriptorPool) -> Self {
        let settings = SchemaSettings::draft2020_12()
            .for_serialize()
            .with(|settings| settings.definitions_path = "/components/schemas".into());
        let commented = DescriptorPool::decode(gatekey_proto::DESCRIPTOR_SET)
            .expect("the build writes a valid descriptor set");
        Self { generator: settings.into_generator(), pool, commented, messages: Map::new() }
    }

    fn take(mut self) -> Map<String, Value> {
        self.messages.extend(self.generator.take_definitions(true));
        self.messages
    }

    /// Returns the operations of an endpoint.
    fn endpoint<S>(&mut self, endpoint: &Endpoint<S>) -> Map<String, Value> {
        let name = endpoint.path.trim_matches('/').replace(['/', '.', '-'], "_");
        let name = name.replace(['{', '*', '}'], "");
        let secret = matches!(endpoint.credential, Credential::Secret | Credential::SecretOrToken);
        let (basic, bearer) = (json!({ "secret": [] }), json!({ "token": [] }));
        let security = match endpoint.credential {
            Credential::None => json!([]),
            // Also none: the secret may be in the form.
            Credential::Secret => json!([basic, {}]),
            Credential::Token => json!([bearer]),
            Credential::SecretOrToken => json!([basic, bearer, {}]),
            // Also none: some requests need no credential.
            Credential::OfClient => json!([bearer, {}]),
        };
        let is_of_gate = endpoint.credential == Credential::OfClient;
        let failure = if is_of_gate {
            "#/components/responses/Refusal"
        } else {
            "#/components/responses/OAuthError"
        };
        let mut success = json!({ "description": "Done" });
        if let Some(schema) = endpoint.response {
            success["content"] =
                json!({ "application/json": { "schema": schema(&mut self.generator) } });
        }
        let mut operation = json!({
            "summary": endpoint.summary,
            "tags": [if is_of_gate { "gate" } else { "oauth" }],
            "security": security,
            "responses": { "200": success, "default": { "$ref": failure } },
        });
        if let Some((_, wildcard)) = endpoint.path.split_once("{*") {
            let schema = json!({ "type": "string" });
            operation["parameters"] = json!([
                { "name": wildcard.trim_end_matches('}'), "in": "path", "required": true, "schema": schema },
            ]);
        }
        if !endpoint.parameters.is_empty() {
            operation["requestBody"] = form(endpoint, secret);
        }
        let methods: &[_] = match endpoint.methods {
            Methods::Get => &["get"],
            Methods::Post => &["post"],
            Methods::GetAndPost => &["get", "post"],
            Methods::Any => &["get", "head", "post", "put", "patch", "delete", "options"],
        };
        let named = methods.iter().map(|method| {
            let mut operation = operation.clone();
            operation["operationId"] = json!(format!("{method}_{name}"));
            ((*method).to_owned(), operation)
        });
        named.collect()
    }

    /// Returns the operation of a method that is bound to plain HTTP.
    fn binding(&mut self, binding: &Binding) -> Value {
        let procedure = binding.procedure.path();
        let (service, method) =
            procedure.trim_start_matches('/').split_once('/').unwrap_or_default();
        let in_path: Vec<_> = binding.path_fields().map(|(_, field)| field).collect();
        let fields = self.pool.message(binding.input).fields().iter();
        let mut parameters: Vec<_> = fields
            .filter(|field| in_path.contains(&field.name()))
            .map(|field| {
                let schema = self.field(field.kind());
                json!({ "name": field.name(), "in": "path", "required": true, "schema": schema })
            })
            .collect();
        match &binding.body {
            BodyPart::Whole => {}
            BodyPart::Nothing => self.query(binding.input, "", &in_path, &mut parameters),
            BodyPart::Field(body) => {
                for name in binding.path_fields().map(|(_, field)| last_name(field)) {
                    let schema = json!({ "type": "string" });
                    parameters.push(
                        json!({ "name": name, "in": "path", "required": true, "schema": schema }),
                    );
                }
                self.query(binding.input, "", &[body], &mut parameters);
            }
        }
        let security = match access(procedure) {
            Some(Access::Anonymous) => json!([]),
            Some(
                Access::Reflection | Access::Authenticated | Access::Admin | Access::AdminOrSelf,
            )
            | None => {
                json!([{ "token": [] }])
            }
        };
        let answer = self.message(binding.output);
        let mut operation = json!({
            "operationId": format!("{}_{method}", service.rsplit('.').next().unwrap_or(service)),
            "summary": self.method_comment(service, method),
            "tags": [service],
            "parameters": parameters,
            "security": security,
            "responses": {
                "200": {
                    "description": "Done",
                    "content": { "application/json": { "schema": answer } },
                },
                "default": { "$ref": "#/components/responses/RpcError" },
            },
        });
        if let Some((message, field)) = binding.body_message(self.pool) {
            let in_path: Vec<_> = match field {
                None => in_path,
                Some(_) => binding.path_fields().map(|(_, field)| last_name(field)).collect(),
            };
            let mut schema = if in_path.is_empty() {
                self.message(message)
            } else {
                self.object(message, &in_path)
            };
            if field.is_some()
                && let Value::Object(schema) = &mut schema
            {
                // Only the fields to change.
                schema.remove("required");
            }
            // An empty body is an empty message.
            let required = messages::needs_body(self.pool.message(message).full_name());
            operation["requestBody"] = json!({
                "required": required,
                "content": { "application/json": { "schema": schema } },
            });
        }
        operation
    }

    /// Adds the fields of a message that a query can carry.
    fn query(
        &mut self,
        of: MessageIndex,
        prefix: &str,
        without: &[&str],
        parameters: &mut Vec<Value>,
    ) {
        let pool = self.pool;
        for (at, field) in pool.message(of).fields().iter().enumerate() {
            if prefix.is_empty() && without.contains(&field.name()) {
                continue;
            }
            let name = format!("{prefix}{}", field.name());
            match field.kind() {
                FieldKind::Singular(SingularKind::Message(inner))
                    if !is_well_known(pool, inner) =>
                {
                    self.query(inner, &format!("{name}."), &[], parameters);
                }
                FieldKind::List(SingularKind::Message(_)) | FieldKind::Map { .. } => {}
                kind @ (FieldKind::Singular(_) | FieldKind::List(_)) => {
                    let schema = self.field(kind);
                    let mut parameter = json!({ "name": name, "in": "query", "schema": schema });
                    if let Some(comment) = self.comment(pool.message(of).full_name(), &[2, at]) {
                        parameter["description"] = json!(comment);
                    }
                    parameters.push(parameter);
                }
            }
        }
    }

    /// Returns a reference to a message, and makes the message a component.
    fn message(&mut self, index: MessageIndex) -> Value {
        let name = self.pool.message(index).full_name();
        if !self.messages.contains_key(name) {
            // Inserted first, so that a recursive message ends.
            self.messages.insert(name.to_owned(), Value::Null);
            let schema = self.object(index, &[]);
            self.messages.insert(name.to_owned(), schema);
        }
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    /// Returns the schema of a message in proto3's JSON, without the fields in `without`.
    fn object(&mut self, index: MessageIndex, without: &[&str]) -> Value {
        let pool = self.pool;
        let message = pool.message(index);
        let mut properties = Map::new();
        for (at, field) in message.fields().iter().enumerate() {
            if without.contains(&field.name()) {
                continue;
            }
            let mut schema = self.field(field.kind());
            if let Some(comment) = self.comment(message.full_name(), &[2, at]) {
                schema["description"] = json!(comment);
            }
            if field.options().is_some_and(|options| options.deprecated == Some(true)) {
                schema["deprecated"] = json!(true);
            }
            if messages::is_read_only(message.full_name(), field.json_name()) {
                schema["readOnly"] = json!(true);
            }
            properties.insert(field.json_name().to_owned(), schema);
        }
        let mut object = json!({ "type": "object", "properties": properties });
        messages::complete(message.full_name(), &mut object);
        if let Some(comment) = self.comment(message.full_name(), &[]) {
            object["description"] = json!(comment);
        }
        object
    }

    fn field(&mut self, kind: FieldKind) -> Value {
        match kind {
            FieldKind::Singular(kind) => self.single(kind),
            FieldKind::List(kind) => json!({ "type": "array", "items": self.single(kind) }),
            FieldKind::Map { value, .. } => {
                json!({ "type": "object", "additionalProperties": self.single(value) })
            }
        }
    }

    fn single(&mut self, kind: SingularKind) -> Value {
        match kind {
            SingularKind::Scalar(scalar) => match scalar {
                ScalarType::String => json!({ "type": "string" }),
                ScalarType::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
                ScalarType::Bool => json!({ "type": "boolean" }),
                ScalarType::Double | ScalarType::Float => json!({ "type": "number" }),
                ScalarType::Uint32 | ScalarType::Fixed32 => {
                    json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX })
                }
                ScalarType::Int32 | ScalarType::Sint32 | ScalarType::Sfixed32 => {
                    json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX })
                }
                // Numbers in JSON have too few bits.
                ScalarType::Int64
                | ScalarType::Uint64
                | ScalarType::Fixed64
                | ScalarType::Sfixed64
                | ScalarType::Sint64 => json!({ "type": "string", "pattern": "^-?[0-9]+$" }),
            },
            SingularKind::Enum(index) => {
                json!({ "type": "string", "enum": plain_json::words(self.pool, index) })
            }
            SingularKind::Message(index) => match self.pool.message(index).full_name() {
                "google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
                transcode::FIELD_MASK => {
                    json!({ "type": "string", "description": "Names of fields, separated by commas" })
                }
                "google.protobuf.Duration" => {
                    json!({ "type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?s$" })
                }
                _ => self.message(index),
            },
        }
    }

    /// Returns the comment of a message in the protos, or of the element at the path `within` it.
    fn comment(&self, message: &str, within: &[usize]) -> Option<String> {
        let file = self.commented.file_containing_symbol(message)?;
        let local = message.strip_prefix(file.package.as_deref()?)?.strip_prefix('.')?;
        // Nested messages have other paths; these protos have none.
        let at = file.message_type.iter().position(|known| known.name.as_deref() == Some(local))?;
        comment_at(file, &[&[4, at], within].concat())
    }

    fn method_comment(&self, service: &str, method: &str) -> Option<String> {
        let file = self.commented.file_containing_symbol(service)?;
        let local = service.rsplit('.').next()?;
        let at = file.service.iter().position(|known| known.name.as_deref() == Some(local))?;
        let mut methods = file.service[at].method.iter();
        let method = methods.position(|known| known.name.as_deref() == Some(method))?;
        comment_at(file, &[6, at, 2, method])
    }
}

/// Returns the comment at a path in a file (`google.protobuf.SourceCodeInfo.Location.path`), on one
/// line.
fn comment_at(file: &FileDescriptorProto, path: &[usize]) -> Option<String> {
    let locations = &file.source_code_info.as_option()?.location;
    let same = |known: &[i32]| {
        known.len() == path.len()
            && known.iter().zip(path).all(|(a, b)| usize::try_from(*a) == Ok(*b))
    };
    let comment =
        locations.iter().find(|location| same(&location.path))?.leading_comments.as_deref()?;
    let comment = comment.split_whitespace().collect::<Vec<_>>().join(" ");
    (!comment.is_empty()).then_some(comment)
}

/// Returns the form of an endpoint. `secret` adds the parameters of `client_secret_post`.
fn form<S>(endpoint: &Endpoint<S>, secret: bool) -> Value {
    let mut properties = Map::new();
    for parameter in endpoint.parameters {
        let schema = json!({ "type": "string", "description": parameter.summary });
        properties.insert(parameter.name.to_owned(), schema);
    }
    if secret {
        properties
            .insert("client_id".to_owned(), json!({ "type": "string", "description": "The key" }));
        let schema = json!({ "type": "string", "format": "password", "description": "Its secret" });
        properties.insert("client_secret".to_owned(), schema);
    }
    let required: Vec<_> =
        endpoint.parameters.iter().filter(|parameter| parameter.required).map(|p| p.name).collect();
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    json!({ "required": true, "content": { "application/x-www-form-urlencoded": { "schema": schema } } })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::endpoints::ENDPOINTS;

    fn whole() -> Value {
        document("https://keys.example.com", ENDPOINTS, Bindings::get())
    }

    #[test]
    fn references_resolve_and_operation_names_are_unique() {
        let document = whole();
        let mut names = BTreeSet::new();
        let mut open = vec![&document];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(reference)) = members.get("$ref") {
                        let target = document.pointer(reference.trim_start_matches('#'));
                        assert!(target.is_some_and(Value::is_object), "{reference}");
                    }
                    if let Some(Value::String(name)) = members.get("operationId") {
                        assert!(names.insert(name), "{name} twice");
                    }
                    open.extend(members.values());
                }
                Value::Array(members) => open.extend(members),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        assert!(names.len() > 15, "{names:?}");
    }

    #[test]
    fn comments_of_the_protos_are_descriptions() {
        let document = whole();
        let create = &document["paths"]["/oauth_app/api/v1"]["post"];
        assert_eq!(create["summary"], "Creates a key. Only this response contains the secret.");
        let secret = &document["components"]["schemas"]["cloudidl.identity.App"]["properties"]["clientSecret"];
        assert_eq!(secret["description"], "Only the response to Create contains it.");
    }
}
