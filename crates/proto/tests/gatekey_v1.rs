//! Holds `gatekey.v1` to the promises in `frozen.txt`: clients rely on each of them permanently.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};

use buffa::Message as _;
use buffa_descriptor::generated::descriptor::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MethodDescriptorProto,
    field_descriptor_proto::{Label, Type},
    method_options::IdempotencyLevel,
};

const FROZEN: &str = include_str!("../../../proto/gatekey/v1/frozen.txt");

/// The prefix of the package's messages in descriptors.
const PREFIX: &str = ".gatekey.v1.";

fn file() -> FileDescriptorProto {
    let set = FileDescriptorSet::decode_from_slice(gatekey_proto::DESCRIPTOR_SET).unwrap();
    let ours = |file: &FileDescriptorProto| file.package.as_deref() == Some("gatekey.v1");
    let mut files = set.file.into_iter().filter(ours);
    let file = files.next().expect("the package has a file");
    assert!(files.next().is_none(), "these tests support only one file");
    file
}

fn name(name: Option<&String>) -> &str {
    name.expect("every declaration has a name")
}

/// Returns the type as text, such as `string`, `repeated Secret` or `google.protobuf.Timestamp`.
fn type_of(field: &FieldDescriptorProto) -> String {
    let kind = match field.r#type.unwrap() {
        Type::TYPE_MESSAGE | Type::TYPE_ENUM => {
            let full = name(field.type_name.as_ref());
            full.strip_prefix(PREFIX).unwrap_or(full.trim_start_matches('.')).to_owned()
        }
        scalar => format!("{scalar:?}").trim_start_matches("TYPE_").to_lowercase(),
    };
    match field.label.unwrap_or_default() {
        Label::LABEL_REPEATED => format!("repeated {kind}"),
        Label::LABEL_OPTIONAL if field.proto3_optional == Some(true) => format!("optional {kind}"),
        Label::LABEL_OPTIONAL | Label::LABEL_REQUIRED => kind,
    }
}

fn signature(service: &str, method: &MethodDescriptorProto) -> String {
    let local = |full: &Option<String>| name(full.as_ref()).trim_start_matches(PREFIX).to_owned();
    let stream = |streams: Option<bool>| if streams == Some(true) { "stream " } else { "" };
    let mut line = format!(
        "rpc {service}.{}({}{}) returns ({}{})",
        name(method.name.as_ref()),
        stream(method.client_streaming),
        local(&method.input_type),
        stream(method.server_streaming),
        local(&method.output_type),
    );
    let level = method.options.as_option().and_then(|options| options.idempotency_level);
    if level == Some(IdempotencyLevel::NO_SIDE_EFFECTS) {
        line.push_str(" NO_SIDE_EFFECTS");
    }
    line
}

/// Returns the promises of the interface, one a line. Clients rely on names (JSON) and numbers
/// (binary).
fn promises() -> BTreeSet<String> {
    let file = file();
    let mut lines = BTreeSet::new();
    for message in &file.message_type {
        let flat = message.nested_type.is_empty() && message.enum_type.is_empty();
        assert!(
            flat && message.oneof_decl.is_empty(),
            "these tests do not support the nested declarations of {:?}",
            message.name
        );
        lines.insert(format!("message {}", name(message.name.as_ref())));
        for field in &message.field {
            let (message, name) = (name(message.name.as_ref()), name(field.name.as_ref()));
            lines.insert(format!(
                "field {message}.{name} = {} {}",
                field.number.unwrap(),
                type_of(field)
            ));
        }
    }
    for described in &file.enum_type {
        for value in &described.value {
            let (described, name) = (name(described.name.as_ref()), name(value.name.as_ref()));
            lines.insert(format!("value {described}.{name} = {}", value.number.unwrap()));
        }
    }
    for service in &file.service {
        let service_name = name(service.name.as_ref());
        lines.extend(service.method.iter().map(|method| signature(service_name, method)));
    }
    lines
}

fn frozen() -> BTreeSet<String> {
    let lines = FROZEN.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[test]
fn no_promise_is_broken() {
    let (promises, frozen) = (promises(), frozen());
    let broken: Vec<_> = frozen.difference(&promises).cloned().collect();
    assert!(broken.is_empty(), "these promises of gatekey.v1 are broken:\n{}", broken.join("\n"));
}

#[test]
fn an_addition_must_be_listed_in_frozen_txt() {
    let (promises, frozen) = (promises(), frozen());
    let new: Vec<_> = promises.difference(&frozen).cloned().collect();
    assert!(
        new.is_empty(),
        "add these permanent promises to proto/gatekey/v1/frozen.txt:\n{}",
        new.join("\n")
    );
}

#[test]
fn no_promise_is_listed_twice() {
    let lines: Vec<_> = FROZEN.lines().filter(|line| !line.starts_with('#')).collect();
    let mut numbers = BTreeMap::new();
    for line in lines.iter().filter(|line| line.starts_with("field ") || line.starts_with("value "))
    {
        let (of, rest) = line.split_once('.').unwrap();
        let number = rest.split(' ').nth(2).unwrap();
        if let Some(other) = numbers.insert((of, number), line) {
            panic!("{line:?} and {other:?} have the same number");
        }
    }
    assert_eq!(frozen().len(), lines.iter().filter(|line| !line.is_empty()).count());
}

#[test]
fn enum_values_follow_protobufs_conventions() {
    for described in file().enum_type {
        let prefix = format!("{}_", upper_snake(name(described.name.as_ref())));
        for value in &described.value {
            assert!(
                name(value.name.as_ref()).starts_with(&prefix),
                "{:?} lacks {prefix}",
                value.name
            );
        }
        let zero = described
            .value
            .iter()
            .find(|value| value.number == Some(0))
            .expect("an enum has a zero");
        assert_eq!(zero.name, Some(format!("{prefix}UNSPECIFIED")));
    }
}

#[test]
fn each_method_has_its_own_request_and_response() {
    let file = file();
    let mut used = BTreeSet::new();
    for method in file.service.iter().flat_map(|service| &service.method) {
        let method_name = name(method.name.as_ref());
        assert_eq!(method.input_type, Some(format!("{PREFIX}{method_name}Request")));
        assert_eq!(method.output_type, Some(format!("{PREFIX}{method_name}Response")));
        for message in [&method.input_type, &method.output_type] {
            assert!(used.insert(message.clone()), "two methods use {message:?}");
        }
    }
    let fields = file.message_type.iter().flat_map(|message| &message.field);
    for field in fields {
        assert!(
            !used.contains(&field.type_name),
            "{:?} nests a request or response in a message",
            field.name
        );
    }
    for message in &file.message_type {
        let message = name(message.name.as_ref());
        let wraps = message.ends_with("Request") || message.ends_with("Response");
        assert!(
            !wraps || used.contains(&Some(format!("{PREFIX}{message}"))),
            "no method uses {message}"
        );
    }
}

#[test]
fn names_follow_protobufs_conventions() {
    let file = file();
    let types = file.message_type.iter().map(|message| &message.name);
    for name in types.chain(file.enum_type.iter().map(|described| &described.name)) {
        let name = self::name(name.as_ref());
        let pascal = name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.contains('_');
        assert!(pascal, "{name} is not in PascalCase");
    }
    for message in &file.message_type {
        for field in &message.field {
            let name = self::name(field.name.as_ref());
            let snake = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(
                snake && !name.contains("__"),
                "{name} is not in snake_case, or contains a digit"
            );
            let repeated = field.label == Some(Label::LABEL_REPEATED);
            assert_eq!(
                name.ends_with('s'),
                (repeated && name != "allow_from") || name == "encoded_credentials",
                "{name}: only repeated fields end with s"
            );
            let instant = field.type_name.as_deref() == Some(".google.protobuf.Timestamp");
            let date = name.ends_with("_at") || name == "not_before";
            assert_eq!(date, instant, "{name}: only timestamps are named like one");
        }
    }
}

#[test]
fn services_enums_and_messages_are_documented() {
    let file = file();
    let info = file.source_code_info.as_option().expect("the build keeps comments");
    let commented: BTreeSet<&[i32]> = info
        .location
        .iter()
        .filter(|location| {
            location.leading_comments.as_deref().is_some_and(|text| !text.trim().is_empty())
        })
        .map(|location| location.path.as_slice())
        .collect();
    // The numbers of message_type, enum_type and service in FileDescriptorProto.
    let messages =
        file.message_type.iter().enumerate().filter_map(|(at, DescriptorProto { name, .. })| {
            let name = self::name(name.as_ref());
            (!name.ends_with("Request") && !name.ends_with("Response")).then_some((4, at, name))
        });
    let enums = file.enum_type.iter().enumerate();
    let enums =
        enums.map(|(at, EnumDescriptorProto { name, .. })| (5, at, self::name(name.as_ref())));
    let services =
        file.service.iter().enumerate().map(|(at, service)| (6, at, name(service.name.as_ref())));
    for (kind, at, name) in messages.chain(enums).chain(services) {
        assert!(
            commented.contains(&[kind, i32::try_from(at).unwrap()][..]),
            "{name} has no comment"
        );
    }
}

fn upper_snake(pascal: &str) -> String {
    let mut snake = String::new();
    for character in pascal.chars() {
        if character.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(character.to_ascii_uppercase());
    }
    snake
}
