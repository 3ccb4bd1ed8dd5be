//! Can data written with one Protobuf file be read with another?
//!
//! Fields are known by their numbers; scalars in one group have the same bytes on the wire ("Updating A Message Type" of the
//! Protobuf documentation). The rules and their names are those of Confluent's registry. Stricter than those in one case:
//! a number that was singular in proto3 and becomes repeated is refused as it is in proto2.
use std::collections::{BTreeMap, BTreeSet, HashSet};

use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};

use super::File;
use crate::format::{Budget, Incompatibility, Sides};

/// Why `reader` cannot read all that `writer` wrote; empty = it can.
#[must_use]
pub fn incompatibilities(reader: &File, writer: &File, sides: Sides) -> Vec<Incompatibility> {
    let (Ok(read), Ok(written)) = (reader.main(), writer.main()) else { return Vec::new() };
    let mut check = Check { sides, found: Vec::new(), done: HashSet::new(), todo: Vec::new() };
    if read.package_name() != written.package_name() {
        let what = format!("The package is '{}', not '{}'", read.package_name(), written.package_name());
        check.report("PACKAGE_CHANGED", "/", &what);
    }
    check.types(read.messages().collect(), written.messages().collect(), "");
    let mut budget = Budget::default();
    // A list instead of recursion: files can refer to each other in long chains.
    while let Some((read, written, path)) = check.todo.pop() {
        if !budget.enter() {
            return vec![Incompatibility { kind: "SCHEMA_TOO_COMPLEX", description: Budget::reason() }];
        }
        budget.leave();
        check.messages(&read, &written, &path);
    }
    check.found
}

/// Scalars whose bytes can be read as one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Number,
    SignedNumber,
    Fixed32,
    Fixed64,
    Float,
    Double,
    StringOrBytes,
}

fn group(kind: &Kind) -> Option<Group> {
    Some(match kind {
        Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Bool | Kind::Enum(_) => Group::Number,
        Kind::Sint32 | Kind::Sint64 => Group::SignedNumber,
        Kind::Fixed32 | Kind::Sfixed32 => Group::Fixed32,
        Kind::Fixed64 | Kind::Sfixed64 => Group::Fixed64,
        Kind::Float => Group::Float,
        Kind::Double => Group::Double,
        Kind::String | Kind::Bytes => Group::StringOrBytes,
        Kind::Message(_) => return None,
    })
}

struct Check {
    sides: Sides,
    found: Vec<Incompatibility>,
    /// Pairs of messages, by their full names.
    done: HashSet<(String, String)>,
    todo: Vec<(MessageDescriptor, MessageDescriptor, String)>,
}

impl Check {
    fn types(&mut self, read: Vec<MessageDescriptor>, written: Vec<MessageDescriptor>, path: &str) {
        for old in written.iter().filter(|m| !m.is_map_entry()) {
            let place = format!("{path}/{}", old.name());
            match read.iter().find(|m| m.name() == old.name()) {
                Some(new) => self.later(new, old, place),
                None => self.report("MESSAGE_REMOVED", &place, "The message is missing"),
            }
        }
    }

    fn later(&mut self, read: &MessageDescriptor, written: &MessageDescriptor, path: String) {
        if self.done.insert((read.full_name().to_owned(), written.full_name().to_owned())) {
            self.todo.push((read.clone(), written.clone(), path));
        }
    }

    fn messages(&mut self, read: &MessageDescriptor, written: &MessageDescriptor, path: &str) {
        let by_number =
            |message: &MessageDescriptor| message.fields().map(|f| (f.number(), f)).collect::<BTreeMap<_, _>>();
        let (new, old) = (by_number(read), by_number(written));
        self.oneofs(read, &old, path);
        for (number, field) in &old {
            let place = format!("{path}/{number}");
            match new.get(number) {
                Some(now) => self.fields(now, field, &place),
                None if field.is_required() => {
                    self.report(
                        "REQUIRED_FIELD_REMOVED",
                        &place,
                        &format!("The required field '{}' is missing", field.name()),
                    );
                }
                None => self.removed_member(read, written, field, &new, &place),
            }
        }
        for (number, field) in &new {
            let was_required = old.get(number).is_some_and(FieldDescriptor::is_required);
            if field.is_required() && !was_required {
                let what = format!("The field '{}' is required, which data may lack", field.name());
                self.report("REQUIRED_FIELD_ADDED", &format!("{path}/{number}"), &what);
            }
        }
        self.types(read.child_messages().collect(), written.child_messages().collect(), path);
    }

    /// Fields that were independent must not exclude each other now.
    fn oneofs(&mut self, read: &MessageDescriptor, old: &BTreeMap<u32, FieldDescriptor>, path: &str) {
        for oneof in read.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            let mut origins = BTreeSet::new();
            let mut moved = 0;
            for before in oneof.fields().filter_map(|field| old.get(&field.number())) {
                match real_oneof(before) {
                    Some(name) => origins.insert(name),
                    None => {
                        moved += 1;
                        origins.insert(before.number().to_string())
                    }
                };
            }
            if origins.len() > 1 {
                let place = format!("{path}/{}", oneof.name());
                if moved > 1 {
                    self.report(
                        "MULTIPLE_FIELDS_MOVED_TO_ONEOF",
                        &place,
                        "The oneof holds several fields that were independent",
                    );
                } else {
                    self.report(
                        "FIELD_MOVED_TO_EXISTING_ONEOF",
                        &place,
                        "The oneof holds a field that was outside of it",
                    );
                }
            }
        }
    }

    /// A field may go; a member of a oneof only together with all the others of it.
    fn removed_member(
        &mut self,
        read: &MessageDescriptor,
        written: &MessageDescriptor,
        field: &FieldDescriptor,
        new: &BTreeMap<u32, FieldDescriptor>,
        place: &str,
    ) {
        let Some(name) = real_oneof(field) else { return };
        let kept = read.oneofs().any(|oneof| oneof.name() == name);
        let survives = written
            .fields()
            .any(|other| real_oneof(&other).as_deref() == Some(name.as_str()) && new.contains_key(&other.number()));
        if kept || survives {
            let what = format!("The field '{}' of the oneof '{name}' is missing", field.name());
            self.report("ONEOF_FIELD_REMOVED", place, &what);
        }
    }

    fn fields(&mut self, read: &FieldDescriptor, written: &FieldDescriptor, place: &str) {
        if read.is_map() != written.is_map() {
            let what = format!("The field '{}' is {}, not {}", read.name(), shown(read), shown(written));
            return self.report("FIELD_KIND_CHANGED", place, &what);
        }
        if read.is_map()
            && let (Kind::Message(new), Kind::Message(old)) = (read.kind(), written.kind())
        {
            self.kinds(&new.map_entry_key_field(), &old.map_entry_key_field(), place);
            return self.kinds(&new.map_entry_value_field(), &old.map_entry_value_field(), place);
        }
        self.kinds(read, written, place);
        let repeated = |field: &FieldDescriptor| field.cardinality() == Cardinality::Repeated;
        if repeated(read) != repeated(written)
            && let (Some(new), Some(old)) = (group(&read.kind()), group(&written.kind()))
            && new == old
            && new != Group::StringOrBytes
        {
            let what = format!("The number '{}' is {}, not {}", read.name(), shown(read), shown(written));
            self.report("FIELD_NUMERIC_LABEL_CHANGED", place, &what);
        }
    }

    fn kinds(&mut self, read: &FieldDescriptor, written: &FieldDescriptor, place: &str) {
        let what = |what: &str| {
            format!("The {what} of the field '{}' is {}, not {}", read.name(), shown(read), shown(written))
        };
        match (read.kind(), written.kind()) {
            (Kind::Message(new), Kind::Message(old)) => {
                if local_name(&new) != local_name(&old) || read.is_group() != written.is_group() {
                    return self.report("FIELD_NAMED_TYPE_CHANGED", place, &what("named type"));
                }
                self.later(&new, &old, format!("{place}/{}", new.name()));
            }
            (new, old) => match (group(&new), group(&old)) {
                (Some(new), Some(old)) if new == old => {}
                (Some(_), Some(_)) => self.report("FIELD_SCALAR_KIND_CHANGED", place, &what("kind")),
                _ => self.report("FIELD_KIND_CHANGED", place, &what("kind")),
            },
        }
    }

    fn report(&mut self, kind: &'static str, path: &str, what: &str) {
        if self.found.len() < crate::limits::DIFFERENCES_MAX {
            let Sides { reader, writer } = self.sides;
            let description =
                format!("{what} at path '#{path}' in the {reader} schema (compared with the {writer} schema)");
            self.found.push(Incompatibility { kind, description });
        }
    }
}

/// The oneof that a field is in, if it was written as one.
fn real_oneof(field: &FieldDescriptor) -> Option<String> {
    field.containing_oneof().filter(|oneof| !oneof.is_synthetic()).map(|oneof| oneof.name().to_owned())
}

/// Without its package: a whole package may be renamed with all that uses it.
fn local_name(message: &MessageDescriptor) -> String {
    let full = message.full_name();
    full.strip_prefix(message.package_name()).unwrap_or(full).trim_start_matches('.').to_owned()
}

fn shown(field: &FieldDescriptor) -> String {
    let label = match field.cardinality() {
        Cardinality::Repeated if !field.is_map() => "repeated ",
        _ => "",
    };
    format!("{label}{:?}", field.kind())
}
