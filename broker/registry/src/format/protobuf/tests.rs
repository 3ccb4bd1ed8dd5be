use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::prost::Message;

use crate::format::testing::{Rule, check, dependency};
use crate::format::{Format, parse, represent};

fn ok(name: &'static str, old: &'static str, new: &'static str) -> Rule {
    Rule { name, old, new, backward: None, forward: None }
}

fn both(name: &'static str, old: &'static str, new: &'static str, kind: &'static str) -> Rule {
    Rule { name, old, new, backward: Some(kind), forward: Some(kind) }
}

fn rule(
    name: &'static str,
    old: &'static str,
    new: &'static str,
    backward: Option<&'static str>,
    forward: Option<&'static str>,
) -> Rule {
    Rule { name, old, new, backward, forward }
}

const M: &str = "syntax = \"proto3\"; message M { int32 a = 1; }";

/// "Updating A Message Type" of the Protobuf documentation, and Confluent's "Protobuf compatibility rules".
#[test]
fn protobuf_files_evolve_by_numbers_and_wire_types() {
    check(
        Format::Protobuf,
        &[
            ok("the same", M, M),
            ok("a field is added", M, "syntax = \"proto3\"; message M { int32 a = 1; string b = 2; }"),
            ok("a field is renamed", M, "syntax = \"proto3\"; message M { int32 z = 1; }"),
            ok("int32 to int64", M, "syntax = \"proto3\"; message M { int64 a = 1; }"),
            ok("int32 to bool", M, "syntax = \"proto3\"; message M { bool a = 1; }"),
            ok("int32 to an enum", M, "syntax = \"proto3\"; message M { E a = 1; } enum E { X = 0; }"),
            ok(
                "sint32 to sint64",
                "syntax = \"proto3\"; message M { sint32 a = 1; }",
                "syntax = \"proto3\"; message M { sint64 a = 1; }",
            ),
            ok(
                "fixed32 to sfixed32",
                "syntax = \"proto3\"; message M { fixed32 a = 1; }",
                "syntax = \"proto3\"; message M { sfixed32 a = 1; }",
            ),
            ok(
                "string to bytes",
                "syntax = \"proto3\"; message M { string a = 1; }",
                "syntax = \"proto3\"; message M { bytes a = 1; }",
            ),
            both("int32 to sint32", M, "syntax = \"proto3\"; message M { sint32 a = 1; }", "FIELD_SCALAR_KIND_CHANGED"),
            both("int32 to string", M, "syntax = \"proto3\"; message M { string a = 1; }", "FIELD_SCALAR_KIND_CHANGED"),
            both(
                "float to double",
                "syntax = \"proto3\"; message M { float a = 1; }",
                "syntax = \"proto3\"; message M { double a = 1; }",
                "FIELD_SCALAR_KIND_CHANGED",
            ),
            both(
                "a scalar becomes a message",
                M,
                "syntax = \"proto3\"; message M { N a = 1; } message N {}",
                "FIELD_KIND_CHANGED",
            ),
            both(
                "a scalar becomes a map",
                M,
                "syntax = \"proto3\"; message M { map<string, int32> a = 1; }",
                "FIELD_KIND_CHANGED",
            ),
            both(
                "the values of a map change",
                "syntax = \"proto3\"; message M { map<string, int32> a = 1; }",
                "syntax = \"proto3\"; message M { map<string, string> a = 1; }",
                "FIELD_SCALAR_KIND_CHANGED",
            ),
            both(
                "a number becomes repeated",
                M,
                "syntax = \"proto3\"; message M { repeated int32 a = 1; }",
                "FIELD_NUMERIC_LABEL_CHANGED",
            ),
            ok(
                "a string becomes repeated",
                "syntax = \"proto3\"; message M { string a = 1; }",
                "syntax = \"proto3\"; message M { repeated string a = 1; }",
            ),
            ok("presence becomes explicit", M, "syntax = \"proto3\"; message M { optional int32 a = 1; }"),
            rule(
                "a message is removed",
                "syntax = \"proto3\"; message M { int32 a = 1; } message N {}",
                M,
                Some("MESSAGE_REMOVED"),
                None,
            ),
            rule(
                "a nested message is removed",
                "syntax = \"proto3\"; message M { int32 a = 1; message N {} }",
                M,
                Some("MESSAGE_REMOVED"),
                None,
            ),
            ok(
                "messages change places",
                "syntax = \"proto3\"; message M { int32 a = 1; } message N {}",
                "syntax = \"proto3\"; message N {} message M { int32 a = 1; }",
            ),
            ok(
                "enums and their values change",
                "syntax = \"proto3\"; message M { E e = 1; } enum E { X = 0; Y = 1; }",
                "syntax = \"proto3\"; message M { E e = 1; } enum E { X = 0; Z = 2; }",
            ),
            both(
                "the type of a message field changes",
                "syntax = \"proto3\"; message M { N n = 1; } message N {} message O {}",
                "syntax = \"proto3\"; message M { O n = 1; } message N {} message O {}",
                "FIELD_NAMED_TYPE_CHANGED",
            ),
            both(
                "a field of a nested message changes",
                "syntax = \"proto3\"; message M { N n = 1; message N { int32 x = 1; } }",
                "syntax = \"proto3\"; message M { N n = 1; message N { double x = 1; } }",
                "FIELD_SCALAR_KIND_CHANGED",
            ),
            both(
                "the package changes",
                "syntax = \"proto3\"; package a; message M { int32 a = 1; }",
                "syntax = \"proto3\"; package b; message M { int32 a = 1; }",
                "PACKAGE_CHANGED",
            ),
            rule(
                "a required field is added",
                "syntax = \"proto2\"; message M { optional int32 a = 1; }",
                "syntax = \"proto2\"; message M { optional int32 a = 1; required int32 b = 2; }",
                Some("REQUIRED_FIELD_ADDED"),
                Some("REQUIRED_FIELD_REMOVED"),
            ),
            rule(
                "an optional field becomes required",
                "syntax = \"proto2\"; message M { optional int32 a = 1; }",
                "syntax = \"proto2\"; message M { required int32 a = 1; }",
                Some("REQUIRED_FIELD_ADDED"),
                None,
            ),
            ok(
                "a oneof gets a field",
                "syntax = \"proto3\"; message M { oneof o { int32 a = 1; } }",
                "syntax = \"proto3\"; message M { oneof o { int32 a = 1; string b = 2; } }",
            )
            .with_forward("ONEOF_FIELD_REMOVED"),
            rule(
                "a oneof loses a field",
                "syntax = \"proto3\"; message M { oneof o { int32 a = 1; string b = 2; } }",
                "syntax = \"proto3\"; message M { oneof o { int32 a = 1; } }",
                Some("ONEOF_FIELD_REMOVED"),
                None,
            ),
            ok(
                "a whole oneof is removed",
                "syntax = \"proto3\"; message M { int32 z = 9; oneof o { int32 a = 1; string b = 2; } }",
                "syntax = \"proto3\"; message M { int32 z = 9; }",
            ),
            ok("one field moves into a new oneof", M, "syntax = \"proto3\"; message M { oneof o { int32 a = 1; } }"),
            rule(
                "two fields move into a oneof",
                "syntax = \"proto3\"; message M { int32 a = 1; int32 b = 2; }",
                "syntax = \"proto3\"; message M { oneof o { int32 a = 1; int32 b = 2; } }",
                Some("MULTIPLE_FIELDS_MOVED_TO_ONEOF"),
                None,
            ),
            rule(
                "a field moves into a oneof that was there",
                "syntax = \"proto3\"; message M { int32 a = 1; oneof o { int32 b = 2; } }",
                "syntax = \"proto3\"; message M { oneof o { int32 a = 1; int32 b = 2; } }",
                Some("FIELD_MOVED_TO_EXISTING_ONEOF"),
                None,
            ),
            ok(
                "a recursive message stays",
                "syntax = \"proto3\"; message M { M next = 1; }",
                "syntax = \"proto3\"; message M { M next = 1; int32 v = 2; }",
            ),
        ],
    );
}

impl Rule {
    fn with_forward(self, kind: &'static str) -> Rule {
        Rule { forward: Some(kind), ..self }
    }
}

const EVERYTHING: &str = r#"
    // A comment.
    syntax = "proto3";
    package flights.v1;
    import "google/protobuf/timestamp.proto";
    import "google/type/date.proto";
    option java_package = "dev.weir";
    message Flight {
      reserved 10 to 12, 15;
      reserved "gone", "away";
      enum Kind { option allow_alias = true; KIND_A = 0; KIND_B = 1; KIND_C = 1 [deprecated = true]; reserved 5; }
      message Leg { string origin = 1; map<string, .flights.v1.Flight.Leg> more = 2; }
      google.protobuf.Timestamp at = 1;
      google.type.Date day = 2;
      repeated Leg legs = 3;
      optional int32 delay = 4;
      oneof carrier { string code = 5; bytes raw = 6 [json_name = "RAW"]; }
      repeated sint64 numbers = 7 [packed = false];
      Kind kind = 8 [deprecated = true];
    }
    service S { rpc Get (Flight) returns (stream Flight); }
"#;

#[test]
fn what_is_printed_compiles_to_the_same_file() {
    let parsed = parse(Format::Protobuf, EVERYTHING, &[]).unwrap();
    assert_eq!(parsed.texts(false).0, EVERYTHING, "the text stays as it was written");
    let printed = parsed.texts(true).0.to_owned();
    let again = parse(Format::Protobuf, &printed, &[]).unwrap_or_else(|error| panic!("{error}:\n{printed}"));
    assert_eq!(again.texts(true).0, printed);
    for part in [
        "reserved 10 to 12;",
        "oneof carrier",
        "json_name = \"RAW\"",
        "optional int32 delay = 4",
        "allow_alias = true",
        "stream .flights.v1.Flight",
        "packed = false",
    ] {
        assert!(printed.contains(part), "{part} is missing in\n{printed}");
    }
    let proto2 = "syntax = \"proto2\"; message M { required int32 a = 1 [default = 5]; optional group G = 2 { optional string s = 1 [default = \"x\\\"y\"]; } extensions 100 to max; } extend M { optional int32 e = 100; }";
    let printed = parse(Format::Protobuf, proto2, &[]).unwrap().texts(true).0.to_owned();
    let again = parse(Format::Protobuf, &printed, &[]).unwrap_or_else(|error| panic!("{error}:\n{printed}"));
    assert_eq!(again.texts(true).0, printed);
}

/// Python's serializer sends the descriptor; Java's and Go's send the text. Both must be one schema.
#[test]
fn a_descriptor_in_base64_is_the_same_schema_as_its_text() {
    let serialized = represent(Format::Protobuf, EVERYTHING, &[], "serialized").unwrap();
    let bytes = STANDARD.decode(&serialized).unwrap();
    let mut descriptor = prost_reflect::prost_types::FileDescriptorProto::decode(bytes.as_slice()).unwrap();
    descriptor.name = Some("flights/v1/flight.proto".to_owned());
    // As protoc writes it into generated code: without JSON names.
    for field in descriptor.message_type.iter_mut().flat_map(|m| m.field.iter_mut()) {
        field.json_name.take_if(|name| name.as_str() != "RAW");
    }
    let sent = STANDARD.encode(descriptor.encode_to_vec());
    let parsed = parse(Format::Protobuf, &sent, &[]).unwrap();
    assert_eq!(parsed.texts(false).1, parse(Format::Protobuf, EVERYTHING, &[]).unwrap().texts(false).1);
    assert!(parsed.texts(false).0.contains("message Flight {"), "kept as text");
}

/// Found by fuzzing: the crate that reads descriptors panics at these.
#[test]
fn a_map_whose_entry_lacks_key_or_value_is_refused() {
    let text = "syntax = \"proto3\"; message M { map<string, int32> m = 1; }";
    let serialized = represent(Format::Protobuf, text, &[], "serialized").unwrap();
    let whole =
        prost_reflect::prost_types::FileDescriptorProto::decode(STANDARD.decode(&serialized).unwrap().as_slice());
    for number in [1, 2] {
        let mut file = whole.clone().unwrap();
        file.message_type[0].nested_type[0].field.retain(|field| field.number != Some(number));
        let error = parse(Format::Protobuf, &STANDARD.encode(file.encode_to_vec()), &[]).err().unwrap();
        assert!(error.contains("`MEntry` is an entry of a map"), "{error}");
    }
}

#[test]
fn custom_options_make_another_schema() {
    let with = |doc: &str| {
        let text = format!(
            "syntax = \"proto3\"; import \"confluent/meta.proto\"; message M {{ int32 a = 1 [(confluent.field_meta) = {{ doc: \"{doc}\" }}]; }}"
        );
        parse(Format::Protobuf, &text, &[]).unwrap().texts(false).1.to_owned()
    };
    assert_ne!(with("one"), with("two"));
    assert_eq!(with("one"), with("one"));
}

#[test]
fn imports_are_taken_from_what_is_given_only() {
    let text = "syntax = \"proto3\"; import \"other.proto\"; message M { Other o = 1; }";
    let reason = parse(Format::Protobuf, text, &[]).unwrap_err();
    assert!(reason.contains("other.proto") && reason.contains("nothing is fetched"), "{reason}");
    let other = dependency("other.proto", "syntax = \"proto3\"; message Other { int32 x = 1; }");
    parse(Format::Protobuf, text, &[other]).unwrap();
    assert!(parse(Format::Protobuf, "syntax = \"proto3\"; import \"/etc/passwd\"; message M {}", &[]).is_err());
}

#[test]
fn what_is_no_file_is_refused_with_a_reason() {
    for text in [
        "",
        "nothing",
        "AAAA",
        "syntax = \"proto3\"; message M { Unknown u = 1; }",
        "syntax = \"proto3\"; message M { int32 a = 1; int32 b = 1; }",
        "syntax = \"proto3\"; message M { int32 a = 0; }",
        "syntax = \"proto3\"; message M {",
        "syntax = \"proto3\"; import \"default\"; message M {}",
    ] {
        let reason = parse(Format::Protobuf, text, &[]).map(|_| String::new());
        if text.is_empty() {
            continue; // an empty file is one; the registry refuses an empty text before
        }
        assert!(!reason.as_ref().unwrap_err().is_empty(), "{text}");
    }
}

/// The crate that resolves names panics at all of these.
#[test]
fn a_descriptor_of_a_syntax_that_nobody_knows_is_refused() {
    use prost_reflect::prost_types::FileDescriptorProto;
    for syntax in ["editions", "proto4", ""] {
        let file = FileDescriptorProto { syntax: Some(syntax.to_owned()), ..FileDescriptorProto::default() };
        let text = STANDARD.encode(file.encode_to_vec());
        let error = parse(Format::Protobuf, &text, &[]).err().unwrap();
        assert!(error.contains("proto2 and proto3 are known"), "{error}");
    }
}
