//! A file descriptor as the text of a `.proto` file: one way of writing for each descriptor. Types have their full names.
use std::fmt::Write;

use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumOptions, FieldDescriptorProto, FileDescriptorProto, FileOptions,
    MessageOptions, ServiceDescriptorProto, field_options, file_options,
};

use crate::format::text::push_string;

pub(super) fn file(file: &FileDescriptorProto) -> String {
    let mut printer = Printer { out: String::new(), depth: 0, proto3: file.syntax() == "proto3" };
    printer.line(&format!("syntax = \"{}\";", if printer.proto3 { "proto3" } else { "proto2" }));
    if !file.package().is_empty() {
        printer.line(&format!("package {};", file.package()));
    }
    let mut imports: Vec<String> = Vec::new();
    for (index, name) in (0i32..).zip(&file.dependency) {
        let kind = match (file.public_dependency.contains(&index), file.weak_dependency.contains(&index)) {
            (true, _) => "public ",
            (_, true) => "weak ",
            (false, false) => "",
        };
        imports.push(format!("import {kind}{};", quoted(name)));
    }
    imports.sort();
    imports.iter().for_each(|import| printer.line(import));
    if let Some(options) = &file.options {
        file_options_of(options).iter().for_each(|(name, value)| printer.line(&format!("option {name} = {value};")));
    }
    file.enum_type.iter().for_each(|e| printer.enumeration(e));
    file.message_type.iter().for_each(|m| printer.message(m));
    printer.extensions(&file.extension);
    file.service.iter().for_each(|s| printer.service(s));
    printer.out
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    push_string(text, &mut out);
    out
}

struct Printer {
    out: String,
    depth: usize,
    proto3: bool,
}

impl Printer {
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{:indent$}{text}", "", indent = self.depth * 2); // writing to a string cannot fail
    }

    fn block(&mut self, head: &str, body: impl FnOnce(&mut Printer)) {
        self.line(&format!("{head} {{"));
        self.depth += 1;
        body(self);
        self.depth -= 1;
        self.line("}");
    }

    fn message(&mut self, message: &DescriptorProto) {
        self.block(&format!("message {}", message.name()), |p| p.message_body(message));
    }

    fn message_body(&mut self, message: &DescriptorProto) {
        if let Some(options) = &message.options {
            message_options_of(options)
                .iter()
                .for_each(|(name, value)| self.line(&format!("option {name} = {value};")));
        }
        for range in &message.reserved_range {
            self.line(&format!("reserved {};", numbers(range.start(), range.end().saturating_sub(1), 536_870_911)));
        }
        self.reserved_names(&message.reserved_name);
        for range in &message.extension_range {
            self.line(&format!("extensions {};", numbers(range.start(), range.end().saturating_sub(1), 536_870_911)));
        }
        message.enum_type.iter().for_each(|e| self.enumeration(e));
        for nested in message.nested_type.iter().filter(|n| !is_map_entry(n) && !is_group(message, n)) {
            self.message(nested);
        }
        let mut printed = vec![false; message.oneof_decl.len()];
        for field in &message.field {
            match field.oneof_index.and_then(|i| usize::try_from(i).ok()).filter(|_| !field.proto3_optional()) {
                None => self.field(field, message),
                Some(index) if printed.get(index) == Some(&false) => {
                    printed[index] = true;
                    let members = message.field.iter().filter(|f| f.oneof_index == field.oneof_index);
                    let name = message.oneof_decl[index].name().to_owned();
                    self.block(&format!("oneof {name}"), |p| members.for_each(|f| p.member(f, message)));
                }
                Some(_) => {}
            }
        }
        self.extensions(&message.extension);
    }

    fn reserved_names(&mut self, names: &[String]) {
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
            self.line(&format!("reserved {};", names.join(", ")));
        }
    }

    fn field(&mut self, field: &FieldDescriptorProto, parent: &DescriptorProto) {
        if let Some(entry) = map_entry(field, parent) {
            let [key, value] = [0, 1].map(|at| entry.field.get(at).map(type_name).unwrap_or_default());
            return self.line(&format!("map<{key}, {value}> {};", declaration(field)));
        }
        let label = match field.label() {
            Label::Repeated => "repeated ",
            Label::Required => "required ",
            Label::Optional if !self.proto3 || field.proto3_optional() => "optional ",
            Label::Optional => "",
        };
        self.typed(label, field, parent);
    }

    /// A field of a oneof has no label.
    fn member(&mut self, field: &FieldDescriptorProto, parent: &DescriptorProto) {
        self.typed("", field, parent);
    }

    fn typed(&mut self, label: &str, field: &FieldDescriptorProto, parent: &DescriptorProto) {
        if field.r#type() == Type::Group
            && let Some(group) =
                parent.nested_type.iter().find(|n| field.type_name().ends_with(&format!(".{}", n.name())))
        {
            let head = format!("{label}group {} = {}", group.name(), field.number());
            return self.block(&head, |p| p.message_body(group));
        }
        self.line(&format!("{label}{} {};", type_name(field), declaration(field)));
    }

    fn enumeration(&mut self, of: &EnumDescriptorProto) {
        self.block(&format!("enum {}", of.name()), |p| {
            if let Some(options) = &of.options {
                enum_options_of(options).iter().for_each(|(name, value)| p.line(&format!("option {name} = {value};")));
            }
            for value in &of.value {
                let deprecated = value.options.as_ref().is_some_and(|o| o.deprecated());
                let options = if deprecated { " [deprecated = true]" } else { "" };
                p.line(&format!("{} = {}{options};", value.name(), value.number()));
            }
            for range in &of.reserved_range {
                p.line(&format!("reserved {};", numbers(range.start(), range.end(), i32::MAX)));
            }
            p.reserved_names(&of.reserved_name);
        });
    }

    fn extensions(&mut self, extensions: &[FieldDescriptorProto]) {
        for extension in extensions {
            let parent = DescriptorProto::default();
            self.block(&format!("extend {}", extension.extendee()), |p| p.field(extension, &parent));
        }
    }

    fn service(&mut self, service: &ServiceDescriptorProto) {
        self.block(&format!("service {}", service.name()), |p| {
            for method in &service.method {
                let stream = |streams| if streams { "stream " } else { "" };
                let (takes, gives) = (stream(method.client_streaming()), stream(method.server_streaming()));
                let (input, output) = (method.input_type(), method.output_type());
                p.line(&format!("rpc {} ({takes}{input}) returns ({gives}{output});", method.name()));
            }
        });
    }
}

fn numbers(first: i32, last: i32, max: i32) -> String {
    match last {
        last if last == first => first.to_string(),
        last if last >= max => format!("{first} to max"),
        last => format!("{first} to {last}"),
    }
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(|options| options.map_entry())
}

fn is_group(parent: &DescriptorProto, nested: &DescriptorProto) -> bool {
    let suffix = format!(".{}", nested.name());
    parent.field.iter().any(|f| f.r#type() == Type::Group && f.type_name().ends_with(&suffix))
}

fn map_entry<'a>(field: &FieldDescriptorProto, parent: &'a DescriptorProto) -> Option<&'a DescriptorProto> {
    let entries = parent.nested_type.iter().filter(|nested| is_map_entry(nested));
    // With the parent's name: a message elsewhere may be called as an entry is.
    entries.into_iter().find(|entry| field.type_name().ends_with(&format!(".{}.{}", parent.name(), entry.name())))
}

fn type_name(field: &FieldDescriptorProto) -> String {
    let scalar = match field.r#type() {
        Type::Double => "double",
        Type::Float => "float",
        Type::Int64 => "int64",
        Type::Uint64 => "uint64",
        Type::Int32 => "int32",
        Type::Fixed64 => "fixed64",
        Type::Fixed32 => "fixed32",
        Type::Bool => "bool",
        Type::String => "string",
        Type::Bytes => "bytes",
        Type::Uint32 => "uint32",
        Type::Sfixed32 => "sfixed32",
        Type::Sfixed64 => "sfixed64",
        Type::Sint32 => "sint32",
        Type::Sint64 => "sint64",
        Type::Message | Type::Enum | Type::Group => field.type_name(),
    };
    scalar.to_owned()
}

/// `name = number [options]`.
fn declaration(field: &FieldDescriptorProto) -> String {
    let mut options = Vec::new();
    if let Some(default) = &field.default_value {
        let text = match field.r#type() {
            Type::String => quoted(default),
            // Already escaped in C's way by whoever made the descriptor.
            Type::Bytes => format!("\"{default}\""),
            _ => default.clone(),
        };
        options.push(format!("default = {text}"));
    }
    if field.json_name.as_ref().is_some_and(|json| *json != json_name(field.name())) {
        options.push(format!("json_name = {}", quoted(field.json_name())));
    }
    if let Some(of) = &field.options {
        options.extend(of.packed.map(|packed| format!("packed = {packed}")));
        options.extend(of.lazy.filter(|lazy| *lazy).map(|_| "lazy = true".to_owned()));
        options.extend(of.deprecated.filter(|yes| *yes).map(|_| "deprecated = true".to_owned()));
        if of.ctype.is_some() && of.ctype() != field_options::CType::String {
            options.push(format!("ctype = {}", of.ctype().as_str_name()));
        }
        if of.jstype.is_some() && of.jstype() != field_options::JsType::JsNormal {
            options.push(format!("jstype = {}", of.jstype().as_str_name()));
        }
    }
    let options = if options.is_empty() { String::new() } else { format!(" [{}]", options.join(", ")) };
    format!("{} = {}{options}", field.name(), field.number())
}

/// The name that a field has in JSON unless it says otherwise.
fn json_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for character in name.chars() {
        match character {
            '_' => upper = true,
            c if upper => {
                out.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

type Options = Vec<(&'static str, String)>;

fn file_options_of(options: &FileOptions) -> Options {
    let text = |name, value: &Option<String>| value.as_ref().map(|value| (name, quoted(value)));
    let flag = |name, value: &Option<bool>| value.map(|value| (name, value.to_string()));
    let optimize = options.optimize_for.is_some().then(|| options.optimize_for());
    let mode =
        optimize.filter(|mode| *mode != file_options::OptimizeMode::Speed).map(|mode| mode.as_str_name().to_owned());
    let all = [
        flag("cc_enable_arenas", &options.cc_enable_arenas),
        flag("cc_generic_services", &options.cc_generic_services),
        text("csharp_namespace", &options.csharp_namespace),
        flag("deprecated", &options.deprecated),
        text("go_package", &options.go_package),
        flag("java_generic_services", &options.java_generic_services),
        flag("java_multiple_files", &options.java_multiple_files),
        text("java_outer_classname", &options.java_outer_classname),
        text("java_package", &options.java_package),
        flag("java_string_check_utf8", &options.java_string_check_utf8),
        text("objc_class_prefix", &options.objc_class_prefix),
        mode.map(|mode| ("optimize_for", mode)),
        text("php_class_prefix", &options.php_class_prefix),
        text("php_metadata_namespace", &options.php_metadata_namespace),
        text("php_namespace", &options.php_namespace),
        flag("py_generic_services", &options.py_generic_services),
        text("ruby_package", &options.ruby_package),
        text("swift_prefix", &options.swift_prefix),
    ];
    all.into_iter().flatten().collect()
}

fn message_options_of(options: &MessageOptions) -> Options {
    let flag = |name, value: &Option<bool>| value.filter(|value| *value).map(|value| (name, value.to_string()));
    let all = [
        flag("deprecated", &options.deprecated),
        flag("message_set_wire_format", &options.message_set_wire_format),
        flag("no_standard_descriptor_accessor", &options.no_standard_descriptor_accessor),
    ];
    all.into_iter().flatten().collect()
}

fn enum_options_of(options: &EnumOptions) -> Options {
    let flag = |name, value: &Option<bool>| value.filter(|value| *value).map(|value| (name, value.to_string()));
    [flag("allow_alias", &options.allow_alias), flag("deprecated", &options.deprecated)].into_iter().flatten().collect()
}
