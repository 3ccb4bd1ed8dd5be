//! A part of a message as a schema of its own: some of its fields, with what their types need and nothing else.
//!
//! What is shown keeps its numbers, so whoever knows the whole message reads rows of the part too. Messages of which only some fields
//! are shown, and types of imported files, are written inside of the row's message. Google's own files stay imports.
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FieldOptions, FileDescriptorProto, FileDescriptorSet,
};
use prost_reflect::{DescriptorPool, EnumDescriptor, FileDescriptor, Kind, MessageDescriptor};

use super::{known, parse, print};
use crate::limits::DEPTH_MAX;

/// Which fields of a message are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// All of them, with all they contain.
    All,
    /// These, by their names.
    Fields(BTreeMap<String, Shown>),
}

/// A schema that shows a part of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// To be registered: the text of a `.proto` file that imports nothing that would have to be registered too.
    pub text: String,
    /// The same compiled, as [`super::File::set`] gives it.
    pub set: String,
    /// Full name of the row's message, which is that of the whole.
    pub message: String,
}

/// The part of a message: `set` is a compiled file (see [`super::File::set`]), `message` the index of a message in it, then of messages
/// inside. The error is for people.
pub fn part(set: &str, message: &[i32], shown: &Shown) -> Result<Part, String> {
    let bytes = STANDARD.decode(set).map_err(|error| error.to_string())?;
    let set = FileDescriptorSet::decode(bytes.as_slice()).map_err(|error| error.to_string())?;
    let name = set.file.last().map(|file| file.name().to_owned()).ok_or("no file is in it")?;
    let pool = DescriptorPool::from_file_descriptor_set(set).map_err(|error| error.to_string())?;
    let file = pool.get_file_by_name(&name).ok_or("the file is not in it")?;
    let row = row_of(&file, message).ok_or_else(|| format!("the file has no message number {message:?}"))?;
    let main = file.file_descriptor_proto();
    let row_name = row.full_name().to_owned();
    let mut derivation = Derivation {
        file: file.clone(),
        row: row_name.clone(),
        used: BTreeSet::new(),
        imports: BTreeSet::new(),
        moved: BTreeMap::new(),
        inside: Vec::new(),
        enums_inside: Vec::new(),
        parts: 0,
    };
    let mut whole = derivation.shown(&row, shown, row.name(), &row_name, 0)?;
    whole.nested_type.append(&mut derivation.inside);
    whole.enum_type.append(&mut derivation.enums_inside);
    let package = match main.package() {
        "" => String::new(),
        package => format!("{package}."),
    };
    let messages = main.message_type.iter().filter_map(|message| derivation.kept(message, &package, &whole));
    let mut out = FileDescriptorProto {
        name: main.name.clone(),
        package: main.package.clone(),
        syntax: main.syntax.clone(),
        options: main.options.clone(),
        message_type: messages.collect(),
        enum_type: derivation.kept_enums(&main.enum_type, &package),
        dependency: derivation.imports.iter().cloned().collect(),
        ..FileDescriptorProto::default()
    };
    out.message_type.iter_mut().for_each(|message| renamed(message, &derivation.moved));
    let parsed = parse(&print::file(&out), &[])?;
    Ok(Part { set: parsed.file.set()?, text: parsed.canonical, message: row_name })
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

/// A file that is there without being registered.
fn is_known(file: &str) -> bool {
    file.starts_with("google/protobuf/") || known::text(file).is_some()
}

fn is_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(|options| options.map_entry())
}

struct Derivation {
    file: FileDescriptor,
    row: String,
    /// Full names of the file's own types that are needed as they are.
    used: BTreeSet<String>,
    imports: BTreeSet<String>,
    /// Full names of imported types, and what they are called inside of the row's message.
    moved: BTreeMap<String, String>,
    /// Types that are written inside of the row's message.
    inside: Vec<DescriptorProto>,
    enums_inside: Vec<EnumDescriptorProto>,
    /// How many messages so far are shown in part.
    parts: usize,
}

impl Derivation {
    /// A message of these fields, under another name perhaps.
    fn shown(
        &mut self,
        message: &MessageDescriptor,
        shown: &Shown,
        name: &str,
        full_name: &str,
        depth: usize,
    ) -> Result<DescriptorProto, String> {
        if depth > DEPTH_MAX {
            return Err("the source's schema is too deep".to_owned());
        }
        let source = message.descriptor_proto();
        let mut out = DescriptorProto { name: Some(name.to_owned()), ..DescriptorProto::default() };
        let mut oneofs: Vec<i32> = Vec::new();
        for field in &source.field {
            let wanted = match shown {
                Shown::All => &Shown::All,
                Shown::Fields(fields) => match fields.get(field.name()) {
                    Some(wanted) => wanted,
                    None => continue,
                },
            };
            let descriptor = u32::try_from(field.number()).ok().and_then(|number| message.get_field(number));
            let descriptor = descriptor.ok_or_else(|| format!("field {} is not in its message", field.name()))?;
            let mut field = plain(field);
            if let Some(oneof) = field.oneof_index {
                let known = oneofs.iter().position(|at| *at == oneof);
                let at = known.unwrap_or_else(|| {
                    oneofs.push(oneof);
                    oneofs.len() - 1
                });
                field.oneof_index = i32::try_from(at).ok();
            }
            match descriptor.kind() {
                Kind::Message(entry) if descriptor.is_map() => {
                    self.whole_fields(&entry, depth + 1)?;
                    out.nested_type.push(entry.descriptor_proto().clone());
                    field.type_name = Some(format!(".{full_name}.{}", entry.name()));
                }
                Kind::Message(inner) if is_part(&inner, wanted) => {
                    self.same_syntax(&inner.parent_file())?;
                    self.parts += 1;
                    let name = format!("{}_part{}", inner.name(), self.parts);
                    let full_name = format!("{}.{name}", self.row);
                    let part = self.shown(&inner, wanted, &name, &full_name, depth + 1)?;
                    self.inside.push(part);
                    field.type_name = Some(format!(".{full_name}"));
                }
                Kind::Message(inner) => self.whole(&inner, depth + 1)?,
                Kind::Enum(symbols) => self.symbols(&symbols)?,
                _ => {}
            }
            out.field.push(field);
        }
        out.oneof_decl = oneofs
            .iter()
            .filter_map(|at| usize::try_from(*at).ok().and_then(|at| source.oneof_decl.get(at)).cloned())
            .map(|mut oneof| {
                oneof.options = None;
                oneof
            })
            .collect();
        if let Shown::Fields(fields) = shown
            && let Some(missing) = fields.keys().find(|name| !out.field.iter().any(|field| field.name() == *name))
        {
            return Err(format!("column {missing} is no field of the source's newest schema"));
        }
        Ok(out)
    }

    /// A message is needed as it is.
    fn whole(&mut self, message: &MessageDescriptor, depth: usize) -> Result<(), String> {
        let file = message.parent_file();
        if is_known(file.name()) {
            self.imports.insert(file.name().to_owned());
            return Ok(());
        }
        if file != self.file {
            // With what is written inside of it, since its own fields may need that.
            let mut outermost = message.clone();
            while let Some(around) = outermost.parent_message() {
                outermost = around;
            }
            self.same_syntax(&file)?;
            return self.imported(&outermost, depth);
        }
        if message.full_name() == self.row {
            return Err("a row that contains itself cannot be shown in part".to_owned());
        }
        match self.used.insert(message.full_name().to_owned()) {
            true => self.whole_fields(message, depth),
            false => Ok(()),
        }
    }

    fn whole_fields(&mut self, message: &MessageDescriptor, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err("the source's schema is too deep".to_owned());
        }
        for field in message.fields() {
            match field.kind() {
                Kind::Message(entry) if field.is_map() => self.whole_fields(&entry, depth + 1)?,
                Kind::Message(inner) => self.whole(&inner, depth + 1)?,
                Kind::Enum(symbols) => self.symbols(&symbols)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn imported(&mut self, message: &MessageDescriptor, depth: usize) -> Result<(), String> {
        if self.moved.contains_key(message.full_name()) {
            return Ok(());
        }
        let name = self.free_name(message.name());
        self.moved.insert(message.full_name().to_owned(), format!("{}.{name}", self.row));
        self.inside.push(DescriptorProto { name: Some(name), ..message.descriptor_proto().clone() });
        let mut inner: Vec<MessageDescriptor> = vec![message.clone()];
        while let Some(message) = inner.pop() {
            self.whole_fields(&message, depth + 1)?;
            inner.extend(message.child_messages().filter(|child| !child.is_map_entry()));
        }
        Ok(())
    }

    fn symbols(&mut self, symbols: &EnumDescriptor) -> Result<(), String> {
        let file = symbols.parent_file();
        if is_known(file.name()) {
            self.imports.insert(file.name().to_owned());
        } else if file == self.file {
            self.used.insert(symbols.full_name().to_owned());
        } else if let Some(mut outermost) = symbols.parent_message() {
            while let Some(around) = outermost.parent_message() {
                outermost = around;
            }
            self.same_syntax(&file)?;
            self.imported(&outermost, 0)?;
        } else if !self.moved.contains_key(symbols.full_name()) {
            let name = self.free_name(symbols.name());
            self.moved.insert(symbols.full_name().to_owned(), format!("{}.{name}", self.row));
            self.enums_inside.push(EnumDescriptorProto { name: Some(name), ..symbols.enum_descriptor_proto().clone() });
        }
        Ok(())
    }

    /// In a file of the other syntax the same words mean something else: which fields are packed, and which may be missing.
    fn same_syntax(&self, other: &FileDescriptor) -> Result<(), String> {
        if other.file_descriptor_proto().syntax() == self.file.file_descriptor_proto().syntax() {
            return Ok(());
        }
        Err(format!("{} is of another syntax than the file that imports it", other.name()))
    }

    /// A name that no type inside of the row has.
    fn free_name(&self, name: &str) -> String {
        let is_taken = |name: &str| {
            let full = format!("{}.{name}", self.row);
            self.moved.values().any(|known| *known == full)
                || self.file.parent_pool().get_message_by_name(&full).is_some()
                || self.file.parent_pool().get_enum_by_name(&full).is_some()
        };
        let more = (2..).map(|number| format!("{name}_{number}"));
        std::iter::once(name.to_owned()).chain(more).find(|name| !is_taken(name)).unwrap_or_default()
    }

    /// A message of the file, without what is not needed; `row`: what the row's message is now.
    fn kept(&self, message: &DescriptorProto, around: &str, row: &DescriptorProto) -> Option<DescriptorProto> {
        let full = format!("{around}{}", message.name());
        let inner = format!("{full}.");
        let is_used = self.used.contains(&full);
        let nested = message.nested_type.iter().filter(|nested| !is_entry(nested));
        let mut nested: Vec<_> = nested.filter_map(|nested| self.kept(nested, &inner, row)).collect();
        let mut enums = self.kept_enums(&message.enum_type, &inner);
        let mut out = if full == self.row {
            row.clone()
        } else if is_used {
            nested.extend(message.nested_type.iter().filter(|nested| is_entry(nested)).cloned());
            let field = message.field.iter().map(plain).collect();
            DescriptorProto { nested_type: Vec::new(), enum_type: Vec::new(), field, ..without_options(message) }
        } else if nested.is_empty() && enums.is_empty() {
            return None;
        } else {
            DescriptorProto { name: message.name.clone(), ..DescriptorProto::default() }
        };
        out.nested_type.append(&mut nested);
        out.enum_type.append(&mut enums);
        Some(out)
    }

    fn kept_enums(&self, enums: &[EnumDescriptorProto], around: &str) -> Vec<EnumDescriptorProto> {
        enums.iter().filter(|symbols| self.used.contains(&format!("{around}{}", symbols.name()))).cloned().collect()
    }
}

/// Whether less than all of a message is shown. Google's own are values, and shown whole.
fn is_part(message: &MessageDescriptor, shown: &Shown) -> bool {
    let Shown::Fields(fields) = shown else { return false };
    let some = fields.len() < message.fields().len() || fields.values().any(|inner| *inner != Shown::All);
    !is_known(message.parent_file().name()) && some
}

/// Without options that mean something to somebody else; whether values are packed means something on the wire.
fn plain(field: &FieldDescriptorProto) -> FieldDescriptorProto {
    let options = field.options.as_ref().filter(|options| options.packed.is_some() || options.deprecated.is_some());
    let options = options.map(|options| FieldOptions {
        packed: options.packed,
        deprecated: options.deprecated,
        ..FieldOptions::default()
    });
    FieldDescriptorProto { options, ..field.clone() }
}

fn without_options(message: &DescriptorProto) -> DescriptorProto {
    DescriptorProto { options: None, extension: Vec::new(), extension_range: Vec::new(), ..message.clone() }
}

/// Names of types that were moved, in all fields.
fn renamed(message: &mut DescriptorProto, moved: &BTreeMap<String, String>) {
    for field in &mut message.field {
        let Some(name) = field.type_name.as_deref().and_then(|name| name.strip_prefix('.')) else { continue };
        let found = moved.iter().find_map(|(from, to)| {
            let rest = name.strip_prefix(from.as_str())?;
            (rest.is_empty() || rest.starts_with('.')).then(|| format!(".{to}{rest}"))
        });
        if let Some(found) = found {
            field.type_name = Some(found);
        }
    }
    message.nested_type.iter_mut().for_each(|nested| renamed(nested, moved));
}

#[cfg(test)]
mod tests {
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
          message Line { string item = 1; Kind kind = 2; Secret secret = 3; }
        }
        message Customer { string name = 1; Secret secret = 2; Address home = 3; }
        message Address { string city = 1; string street = 2; }
        message Secret { bytes token = 1; }
        message Unused { int32 n = 1; }"#;
    const PLACES: &str = r#"syntax = "proto3"; package geo; message Place { string city = 1; Sort sort = 2; Inner inner = 3;
        enum Sort { NONE = 0; PORT = 1; } message Inner { int32 x = 1; } }"#;
    const MONEY: &str = r#"syntax = "proto3"; package geo; message Money { int64 units = 1; Currency currency = 2; }
        enum Currency { EUR = 0; CHF = 1; }"#;

    fn set() -> String {
        let dependency = |name: &str, text: &str| Dependency {
            reference: Reference { name: name.to_owned(), subject: name.to_owned(), version: 1 },
            text: text.to_owned(),
        };
        let dependencies = [dependency("places.proto", PLACES), dependency("money.proto", MONEY)];
        parse(ORDERS, &dependencies).unwrap().file.set().unwrap()
    }

    /// Names of fields, each with what is shown inside after a colon.
    fn shown(fields: &[(&str, &[&str])]) -> Shown {
        let inner = |names: &[&str]| match names {
            [] => Shown::All,
            names => Shown::Fields(names.iter().map(|name| ((*name).to_owned(), Shown::All)).collect()),
        };
        Shown::Fields(fields.iter().map(|(name, names)| ((*name).to_owned(), inner(names))).collect())
    }

    fn of(fields: &[(&str, &[&str])]) -> Part {
        part(&set(), &[0], &shown(fields)).unwrap()
    }

    #[test]
    fn only_what_is_shown_and_what_it_needs_is_there_under_its_numbers() {
        let part = of(&[("note", &[]), ("kind", &[]), ("at", &[]), ("marks", &[])]);
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
        assert_eq!(part.text.lines().collect::<Vec<_>>(), expected, "{}", part.text);
        assert_eq!(part.message, "shop.Order");
    }

    #[test]
    fn messages_that_are_shown_in_part_are_copies_inside_of_the_row() {
        let part = of(&[("customer", &["name", "home"]), ("lines", &["item"])]);
        let text = &part.text;
        assert!(text.contains("message Customer_part1") && text.contains("message Line_part2"), "{text}");
        assert!(text.contains("message Address") && !text.contains("Secret") && !text.contains("Kind"), "{text}");
        assert!(text.contains(".shop.Order.Customer_part1 customer = 4;"), "{text}");
        assert!(text.contains("repeated .shop.Order.Line_part2 lines = 5;"), "{text}");
    }

    #[test]
    fn imported_types_oneofs_and_maps_come_with_all_they_need() {
        let part = of(&[("from", &[]), ("money", &[]), ("by_name", &[])]);
        let text = &part.text;
        assert!(!text.contains("import \"places") && !text.contains("import \"money"), "{text}");
        for expected in [
            ".shop.Order.Place from = 3;",
            "oneof paid {",
            ".shop.Order.Money money = 8;",
            ".shop.Order.Currency currency = 2;",
            ".shop.Order.Place.Sort sort = 2;",
            "map<string, .shop.Order.Line> by_name = 6;",
            "message Secret",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(!text.contains("cents") && !text.contains("Unused"), "{text}");
        let again = parse(text, &[]).unwrap();
        assert_eq!((&again.canonical, again.file.set().unwrap()), (text, part.set.clone()));
        // All of it is the whole, of which nothing is left out but what no row can have.
        let all = super::part(&set(), &[0], &Shown::All).unwrap();
        assert!(all.text.contains("cents") && !all.text.contains("Unused"), "{}", all.text);
    }

    #[test]
    fn rows_inside_of_messages_keep_their_place_and_what_cannot_be_is_refused() {
        let text = "syntax = \"proto2\"; message Outer { message Row { required int32 a = 1; optional Row2 b = 2; } \
                    message Row2 { optional int32 c = 1 [default = 7]; } optional Row r = 1; }";
        let set = parse(text, &[]).unwrap().file.set().unwrap();
        let found = part(&set, &[0, 0], &shown(&[("b", &[])])).unwrap();
        assert_eq!(found.message, "Outer.Row");
        assert!(found.text.contains("optional int32 c = 1 [default = 7];"), "{}", found.text);
        assert!(!found.text.contains("required"), "{}", found.text);
        let missing = part(&set, &[0, 0], &shown(&[("zz", &[])])).unwrap_err();
        assert_eq!(missing, "column zz is no field of the source's newest schema");
        assert!(part(&set, &[3], &Shown::All).unwrap_err().contains("no message number [3]"));
        assert!(part("!", &[0], &Shown::All).is_err());
    }
}
