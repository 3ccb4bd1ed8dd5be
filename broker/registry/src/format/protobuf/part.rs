//! A part of a message as a schema of its own: some of its fields, with what their types need and nothing else.
//!
//! What is shown keeps its numbers, so whoever knows the whole message reads rows of the part too. The row's message is the first of the
//! file, and each type that it needs, wherever it was defined, stands behind it: a message with its fields and no types inside, an enum
//! with its values. Google's own files stay imports. Types are written in the order in which they come up, so the same source gives
//! the same text.
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumOptions, EnumValueDescriptorProto, FieldDescriptorProto, FieldOptions,
    FileDescriptorProto, FileDescriptorSet,
};
use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};
use protox::file::{FileResolver, GoogleFileResolver};

use super::{known, parse, print};
use crate::limits::{DEPTH_MAX, NODES_MAX};

/// Which fields of a message are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// All of them, with all they contain.
    All,
    /// These. Those that the message does not have are left out.
    Fields(Vec<ShownField>),
}

/// A field that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownField {
    /// Every name that it may have; the first one that the message knows counts.
    pub names: Vec<String>,
    /// What is shown of it, if it is a message or a list of messages.
    pub inner: Shown,
}

/// A schema that shows a part of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// To be registered: the text of a `.proto` file that imports nothing that would have to be registered too. Rows are its
    /// first message.
    pub text: String,
    /// The same compiled, as [`super::File::set`] gives it.
    pub set: String,
}

/// The part of a message: `set` is a compiled file (see [`super::File::set`]), `message` the index of a message in it, then of messages
/// inside. The error is for people: what cannot be written as one file, such as types of a file of the other syntax.
pub fn part(set: &str, message: &[i32], shown: &Shown) -> Result<Part, String> {
    let bytes = STANDARD.decode(set).map_err(|error| error.to_string())?;
    let set = FileDescriptorSet::decode(bytes.as_slice()).map_err(|error| error.to_string())?;
    let name = set.file.last().map(|file| file.name().to_owned()).ok_or("no file is in it")?;
    let pool = DescriptorPool::from_file_descriptor_set(set).map_err(|error| error.to_string())?;
    let file = pool.get_file_by_name(&name).ok_or("the file is not in it")?;
    let row = row_of(&file, message).ok_or_else(|| format!("the file has no message number {message:?}"))?;
    let main = file.file_descriptor_proto();
    let mut derivation = Derivation {
        syntax: syntax(&file).to_owned(),
        around: if main.package().is_empty() { ".".to_owned() } else { format!(".{}.", main.package()) },
        row: row.full_name().to_owned(),
        taken: HashSet::from([row.name().to_owned()]),
        messages: Vec::new(),
        enums: Vec::new(),
        imports: BTreeSet::new(),
        named: HashMap::new(),
        whole: VecDeque::new(),
        nodes: 0,
    };
    let first = derivation.message(&row, shown, row.name(), 0)?;
    if first.field.is_empty() {
        return Err("nothing that is shown is a field of the source's newest schema".to_owned());
    }
    while let Some((message, name)) = derivation.whole.pop_front() {
        let message = derivation.message(&message, &Shown::All, &name, 0)?;
        derivation.messages.push(message);
    }
    derivation.messages.insert(0, first);
    let out = FileDescriptorProto {
        name: main.name.clone(),
        package: main.package.clone(),
        syntax: main.syntax.clone(),
        options: main.options.clone(),
        message_type: derivation.messages,
        enum_type: derivation.enums,
        dependency: derivation.imports.into_iter().collect(),
        ..FileDescriptorProto::default()
    };
    let parsed = parse(&print::file(&out), &[])?;
    Ok(Part { set: parsed.file.set()?, text: parsed.canonical })
}

fn row_of(file: &FileDescriptor, indexes: &[i32]) -> Option<MessageDescriptor> {
    let (first, inner) = indexes.split_first()?;
    let mut message = file.messages().nth(usize::try_from(*first).ok()?)?;
    for index in inner {
        let child = message.child_messages().nth(usize::try_from(*index).ok()?)?;
        message = child;
    }
    Some(message)
}

fn syntax(file: &FileDescriptor) -> &str {
    match file.file_descriptor_proto().syntax() {
        "" => "proto2",
        syntax => syntax,
    }
}

/// The file to import for a type that is there without being registered; `file`: where it was found.
fn known_file(full_name: &str, file: &str) -> Option<String> {
    let is_google = |file: &str| GoogleFileResolver::new().open_file(file).is_ok();
    match full_name {
        // Codecs know these by their names, wherever they come from.
        "google.type.Date" => Some("google/type/date.proto".to_owned()),
        "google.type.TimeOfDay" => Some("google/type/timeofday.proto".to_owned()),
        _ if full_name.starts_with("google.protobuf.") && is_google(file) => Some(file.to_owned()),
        _ if known::text(file).is_some() => Some(file.to_owned()),
        _ => None,
    }
}

fn is_known(message: &MessageDescriptor) -> bool {
    known_file(message.full_name(), message.parent_file().name()).is_some()
}

/// What is shown of a field of this name; `None`: it is not shown.
fn wanted<'s>(message: &MessageDescriptor, shown: &'s Shown, name: &str) -> Option<&'s Shown> {
    let Shown::Fields(fields) = shown else { return Some(&Shown::All) };
    let is_it = |field: &&ShownField| {
        let known = field.names.iter().find(|name| message.get_field_by_name(name).is_some());
        known.is_some_and(|known| known == name)
    };
    fields.iter().find(is_it).map(|field| &field.inner)
}

/// Whether all of a message is shown. Google's own are values, and shown whole.
fn is_complete(message: &MessageDescriptor, shown: &Shown) -> bool {
    if *shown == Shown::All || is_known(message) {
        return true;
    }
    message.fields().all(|field| match (wanted(message, shown, field.name()), field.kind()) {
        (None, _) => false,
        (Some(inner), Kind::Message(message)) => is_complete(&message, inner),
        (Some(_), _) => true,
    })
}

struct Derivation {
    syntax: String,
    /// What stands in front of names of the file's types: a dot, or the package between dots.
    around: String,
    /// Full name of the row's message.
    row: String,
    /// Names that the file's own scope has: of types, and of the values of enums.
    taken: HashSet<String>,
    messages: Vec<DescriptorProto>,
    enums: Vec<EnumDescriptorProto>,
    imports: BTreeSet<String>,
    /// Full names of types, and how fields call them here.
    named: HashMap<String, String>,
    /// Messages that are still to be written, and their names.
    whole: VecDeque<(MessageDescriptor, String)>,
    nodes: usize,
}

impl Derivation {
    /// A message of these fields. Nothing but what is shown in part is written inside of this call, so its depth is that of `shown`.
    fn message(
        &mut self,
        message: &MessageDescriptor,
        shown: &Shown,
        name: &str,
        depth: usize,
    ) -> Result<DescriptorProto, String> {
        if depth > DEPTH_MAX {
            return Err("the source's schema is too deep".to_owned());
        }
        if syntax(&message.parent_file()) != self.syntax {
            // The same words mean something else there: which fields are packed, and which may be missing.
            return Err(format!("{} is of a file of another syntax", message.full_name()));
        }
        let source = message.descriptor_proto();
        let mut out = DescriptorProto { name: Some(name.to_owned()), ..DescriptorProto::default() };
        let mut oneofs: Vec<i32> = Vec::new();
        for field in &source.field {
            let Some(inner) = wanted(message, shown, field.name()) else { continue };
            let descriptor = u32::try_from(field.number()).ok().and_then(|number| message.get_field(number));
            let descriptor = descriptor.ok_or_else(|| format!("field {} is not in its message", field.name()))?;
            let mut field = self.field(field)?;
            if let Some(oneof) = field.oneof_index {
                let known = oneofs.iter().position(|at| *at == oneof);
                let at = known.unwrap_or(oneofs.len());
                if known.is_none() {
                    oneofs.push(oneof);
                }
                field.oneof_index = i32::try_from(at).ok();
            }
            match descriptor.kind() {
                _ if descriptor.is_group() => return Err(format!("{} is a group", descriptor.full_name())),
                Kind::Message(entry) if descriptor.is_map() && is_complete(&entry, inner) => {
                    out.nested_type.push(self.entry(&entry)?);
                    field.type_name = Some(format!("{}{name}.{}", self.around, entry.name()));
                }
                // An entry of which a part is shown is a message like any other: a map is a list of entries.
                Kind::Message(message) if !is_complete(&message, inner) => {
                    let name = self.free(&format!("{}_part", message.name()));
                    let part = self.message(&message, inner, &name, depth + 1)?;
                    self.messages.push(part);
                    field.type_name = Some(format!("{}{name}", self.around));
                }
                _ => field.type_name = self.type_name(&descriptor)?,
            }
            out.field.push(field);
        }
        let oneof = |at: &i32| usize::try_from(*at).ok().and_then(|at| source.oneof_decl.get(at)).cloned();
        out.oneof_decl = oneofs.iter().filter_map(oneof).collect();
        out.oneof_decl.iter_mut().for_each(|oneof| oneof.options = None);
        Ok(out)
    }

    /// A field without options that mean something to somebody else; whether values are packed means something on the wire.
    fn field(&mut self, field: &FieldDescriptorProto) -> Result<FieldDescriptorProto, String> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err("the source's schema is too large".to_owned());
        }
        let options = field.options.as_ref().filter(|options| options.packed.is_some() || options.deprecated.is_some());
        let options = options.map(|options| FieldOptions {
            packed: options.packed,
            deprecated: options.deprecated,
            ..FieldOptions::default()
        });
        Ok(FieldDescriptorProto { options, ..field.clone() })
    }

    /// An entry of a map.
    fn entry(&mut self, entry: &MessageDescriptor) -> Result<DescriptorProto, String> {
        let mut out = entry.descriptor_proto().clone();
        for field in &mut out.field {
            let descriptor = u32::try_from(field.number()).ok().and_then(|number| entry.get_field(number));
            let descriptor = descriptor.ok_or_else(|| format!("{} has no key or no value", entry.full_name()))?;
            field.type_name = self.type_name(&descriptor)?;
        }
        Ok(out)
    }

    /// How the type of a field is called here. It will be written, if it is not yet.
    fn type_name(&mut self, field: &FieldDescriptor) -> Result<Option<String>, String> {
        match field.kind() {
            Kind::Message(message) => self.whole(message).map(Some),
            Kind::Enum(symbols) => self.symbols(&symbols).map(Some),
            _ => Ok(None),
        }
    }

    fn whole(&mut self, message: MessageDescriptor) -> Result<String, String> {
        let full = message.full_name();
        if let Some(file) = known_file(full, message.parent_file().name()) {
            self.imports.insert(file);
            return Ok(format!(".{full}"));
        }
        if let Some(known) = self.named.get(full) {
            return Ok(known.clone());
        }
        if full == self.row {
            return Err("a row that contains itself cannot be shown in part".to_owned());
        }
        let name = self.free(message.name());
        let called = format!("{}{name}", self.around);
        self.named.insert(full.to_owned(), called.clone());
        self.whole.push_back((message, name));
        Ok(called)
    }

    fn symbols(&mut self, symbols: &EnumDescriptor) -> Result<String, String> {
        let (full, file) = (symbols.full_name(), symbols.parent_file());
        if let Some(file) = known_file(full, file.name()) {
            self.imports.insert(file);
            return Ok(format!(".{full}"));
        }
        if let Some(known) = self.named.get(full) {
            return Ok(known.clone());
        }
        if syntax(&file) != self.syntax {
            return Err(format!("{full} is of a file of another syntax"));
        }
        let source = symbols.enum_descriptor_proto();
        self.nodes += source.value.len();
        let name = self.free(symbols.name());
        let values = source.value.iter().map(|value| EnumValueDescriptorProto { options: None, ..value.clone() });
        let alias = source.options.as_ref().and_then(|options| options.allow_alias);
        let out = EnumDescriptorProto {
            name: Some(name.clone()),
            value: values.collect(),
            options: alias.map(|alias| EnumOptions { allow_alias: Some(alias), ..EnumOptions::default() }),
            ..EnumDescriptorProto::default()
        };
        // The values of an enum are names beside it.
        let called = if source.value.iter().any(|value| self.taken.contains(value.name())) {
            let scope = self.free(&format!("{name}_scope"));
            let message =
                DescriptorProto { name: Some(scope.clone()), enum_type: vec![out], ..DescriptorProto::default() };
            self.messages.push(message);
            format!("{}{scope}.{name}", self.around)
        } else {
            self.taken.extend(source.value.iter().map(|value| value.name().to_owned()));
            self.enums.push(out);
            format!("{}{name}", self.around)
        };
        self.named.insert(full.to_owned(), called.clone());
        Ok(called)
    }

    /// A name that nothing of the file has; it is taken from now on.
    fn free(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        let mut number = 1;
        while !self.taken.insert(free.clone()) {
            number += 1;
            free = format!("{name}_{number}");
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::format::Dependency;
    use crate::model::Reference;

    const ORDERS: &str = r#"syntax = "proto3"; package shop;
        import "google/protobuf/timestamp.proto"; import "places.proto"; import "money.proto";
        enum Kind { ANY = 0; GIFT = 1; }
        message Order {
          int64 id = 1;
          optional string note = 2;
          geo.Place from = 3;
          Customer customer = 4;
          repeated Line lines = 5;
          map<string, Line> by_name = 6;
          oneof paid { int32 cents = 7; geo.Money money = 8; }
          google.protobuf.Timestamp at = 9;
          Kind kind = 10;
          repeated sint32 marks = 11 [packed = false];
          map<int32, Line> by_number = 12;
          geo.Place.Sort sort = 13;
          string Place = 14;
          message Line { string item = 1; Kind kind = 2; Secret secret = 3; }
        }
        message Customer { string name = 1; Secret secret = 2; Address home = 3; }
        message Address { string city = 1; string street = 2; }
        message Secret { bytes token = 1; }
        message Unused { int32 n = 1; }"#;
    const PLACES: &str = r#"syntax = "proto3"; package geo; message Place { string city = 1; Sort sort = 2; Inner inner = 3; string hidden = 4;
        enum Sort { ANY = 0; PORT = 1; } message Inner { int32 x = 1; } }"#;
    const MONEY: &str = r#"syntax = "proto3"; package geo; message Money { int64 units = 1; Currency currency = 2; }
        enum Currency { ANY = 0; CHF = 1; }"#;

    fn compiled(text: &str, imports: &[(&str, &str)]) -> String {
        let dependency = |(name, text): &(&str, &str)| Dependency {
            reference: Reference { name: (*name).to_owned(), subject: (*name).to_owned(), version: 1 },
            text: (*text).to_owned(),
        };
        let dependencies: Vec<_> = imports.iter().map(dependency).collect();
        parse(text, &dependencies).unwrap().file.set().unwrap()
    }

    fn orders() -> String {
        compiled(ORDERS, &[("places.proto", PLACES), ("money.proto", MONEY)])
    }

    fn field(name: &str, inner: Shown) -> ShownField {
        ShownField { names: vec![name.to_owned()], inner }
    }

    fn fields(names: &[&str]) -> Shown {
        Shown::Fields(names.iter().map(|name| field(name, Shown::All)).collect())
    }

    /// What comes out compiles by itself, and gives itself again.
    fn of(shown: &Shown) -> String {
        let part = part(&orders(), &[0], shown).unwrap();
        let again = parse(&part.text, &[]).unwrap();
        assert_eq!((again.canonical, again.file.set().unwrap()), (part.text.clone(), part.set));
        assert!(!part.text.contains("Unused"), "{}", part.text);
        part.text
    }

    fn assert_has(text: &str, expected: &[&str], hidden: &[&str]) {
        for expected in expected {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        for hidden in hidden {
            assert!(!text.contains(hidden), "{hidden}: {text}");
        }
    }

    #[test]
    fn only_what_is_shown_and_what_it_needs_is_there_under_its_numbers() {
        let text = of(&fields(&["note", "kind", "at", "marks"]));
        let expected = [
            "syntax = \"proto3\";",
            "package shop;",
            "import \"google/protobuf/timestamp.proto\";",
            "enum Kind {",
            "  ANY = 0;",
            "  GIFT = 1;",
            "}",
            "message Order {",
            "  optional string note = 2;",
            "  .google.protobuf.Timestamp at = 9;",
            "  .shop.Kind kind = 10;",
            "  repeated sint32 marks = 11 [packed = false];",
            "}",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn messages_that_are_shown_in_part_hide_the_rest_also_in_lists_and_maps() {
        let home = Shown::Fields(vec![field("city", Shown::All), field("street", Shown::All)]);
        let customer = Shown::Fields(vec![field("name", Shown::All), field("home", home)]);
        let value = Shown::Fields(vec![field("key", Shown::All), field("value", fields(&["item"]))]);
        let shown = Shown::Fields(vec![
            field("customer", customer),
            field("lines", fields(&["item"])),
            field("by_number", value),
            field("from", fields(&["inner", "sort"])),
        ]);
        let text = of(&shown);
        let expected = [
            "  .shop.Customer_part customer = 4;",
            "  repeated .shop.Line_part lines = 5;",
            "  repeated .shop.ByNumberEntry_part by_number = 12;",
            "  .shop.Line_part_2 value = 2;",
            "  .shop.Address home = 3;",
            "  .shop.Place_part from = 3;",
        ];
        assert_has(&text, &expected, &["Secret", "hidden", "secret"]);
        // As many members as the message has, but not the same ones: not the whole.
        let shown = Shown::Fields(vec![field("customer", fields(&["name", "older", "home"]))]);
        assert_has(&of(&shown), &["Customer_part"], &["ecret"]);
    }

    #[test]
    fn imported_types_oneofs_and_maps_come_with_all_they_need_and_nothing_around() {
        let text = of(&fields(&["from", "money", "by_name", "kind", "Place"]));
        let expected = [
            "  .shop.Place from = 3;",
            "  oneof paid {",
            "    .shop.Money money = 8;",
            "  map<string, .shop.Line> by_name = 6;",
            "message Secret",
            // Three enums have a value ANY.
            "enum Kind {",
            ".shop.Sort_scope.Sort sort = 2;",
            ".shop.Currency_scope.Currency currency = 2;",
        ];
        assert_has(&text, &expected, &["import", "cents"]);
        assert_has(&of(&fields(&["sort"])), &["enum Sort"], &["hidden", "Inner", "message Place"]);
        assert_has(&of(&Shown::All), &["cents", "map<int32, .shop.Line> by_number = 12;"], &[]);
    }

    #[test]
    fn a_field_goes_by_the_first_of_its_names_that_there_is() {
        let names = ["gone", "note", "id"].map(str::to_owned).to_vec();
        let shown = Shown::Fields(vec![ShownField { names, inner: Shown::All }, field("never", Shown::All)]);
        assert_has(&of(&shown), &["optional string note = 2;"], &["int64 id", "never"]);
    }

    #[test]
    fn rows_inside_of_messages_are_the_first_message_and_what_cannot_be_is_refused() {
        let text = "syntax = \"proto2\"; message Outer { message Row { required int32 a = 1; optional Row2 b = 2; } \
                    message Row2 { optional int32 c = 1 [default = 7]; extensions 100 to 200; } optional Row r = 1; }";
        let set = compiled(text, &[]);
        let found = part(&set, &[0, 0], &fields(&["b"])).unwrap().text;
        assert_has(
            &found,
            &["message Row {", "optional int32 c = 1 [default = 7];"],
            &["required", "Outer", "extensions"],
        );
        assert!(part(&set, &[0, 0], &fields(&["zz"])).unwrap_err().contains("nothing that is shown"));
        assert!(part(&set, &[3], &Shown::All).unwrap_err().contains("no message number [3]"));
        assert!(part("!", &[0], &Shown::All).is_err());
        let mixed =
            compiled("syntax = \"proto3\"; import \"o\"; message R { Outer o = 1; int32 a = 2; }", &[("o", text)]);
        assert!(part(&mixed, &[0], &fields(&["o"])).unwrap_err().contains("another syntax"));
        assert_has(&part(&mixed, &[0], &fields(&["a"])).unwrap().text, &["int32 a = 2;"], &["import"]);
    }

    /// A row needs them all, one through the other: no stack is deep enough for that.
    #[test]
    fn a_long_chain_of_types_is_written_without_recursion() {
        let mut chain = "syntax = \"proto3\"; package far;".to_owned();
        const LINKS: usize = 3_000;
        for link in 0..LINKS {
            let next = (link + 1) % LINKS;
            let _ = write!(chain, "message M{link} {{ enum E {{ A = 0; }} M{next}.E e = 1; M{next} m = 2; }}");
        }
        let row = "syntax = \"proto3\"; import \"chain\"; message R { far.M0.E e = 1; far.M0 m = 2; int32 n = 3; }";
        let set = compiled(row, &[("chain", &chain)]);
        let found = part(&set, &[0], &fields(&["m"])).unwrap().text;
        assert_eq!(found.matches("message M").count(), LINKS);
        assert_has(&part(&set, &[0], &fields(&["e"])).unwrap().text, &["enum E"], &["message M"]);
    }
}
