//! Protocol Buffers: protox compiles, prost-reflect resolves. A schema is the text of a `.proto` file, or (from Python's
//! serializer) a `FileDescriptorProto` in base64, which is turned into text. Imports come from the registered references,
//! from Google's well-known files and from [`known`]; never from a disk.
mod compatibility;
mod known;
mod part;
mod print;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::prost::Message;
use prost_reflect::prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use prost_reflect::{DescriptorPool, FileDescriptor};
use protox::Compiler;
use protox::file::{File as SourceFile, FileResolver, GoogleFileResolver};

use super::Dependency;
use crate::limits::{DEPTH_MAX, NODES_MAX};

pub use compatibility::incompatibilities;
pub use part::{Part, Shown, ShownField, part};

/// What the schema itself is called while it is compiled; it has no name of its own.
const MAIN: &str = "default";

/// A Protobuf schema in its three shapes.
#[derive(Debug)]
pub struct Parsed {
    /// As written; printed, if it came as a descriptor.
    pub text: String,
    /// Printed in one way.
    pub canonical: String,
    /// For compatibility checks.
    pub file: File,
}

/// A compiled file with all it imports.
#[derive(Debug)]
pub struct File {
    pool: DescriptorPool,
}

impl File {
    /// The file itself.
    fn main(&self) -> Result<FileDescriptor, String> {
        self.pool.get_file_by_name(MAIN).ok_or_else(|| "the file was not compiled".to_owned())
    }

    /// The file behind all it imports, as a `FileDescriptorSet` in base64: what codecs of rows need.
    pub fn set(&self) -> Result<String, String> {
        fn add(file: &FileDescriptor, set: &mut FileDescriptorSet) {
            if set.file.iter().any(|known| known.name() == file.name()) {
                return;
            }
            for import in file.dependencies() {
                add(&import, set);
            }
            set.file.push(FileDescriptorProto { source_code_info: None, ..file.file_descriptor_proto().clone() });
        }
        let mut set = FileDescriptorSet::default();
        add(&self.main()?, &mut set);
        Ok(STANDARD.encode(set.encode_to_vec()))
    }

    /// The descriptor in base64, as clients ask for it with `format=serialized`.
    pub fn serialized(&self) -> Result<String, String> {
        Ok(STANDARD.encode(self.main()?.encode_to_vec()))
    }
}

/// Parses a schema; `dependencies` are the files it imports.
pub fn parse(text: &str, dependencies: &[Dependency]) -> Result<Parsed, String> {
    let (source, is_text) = source_of(text)?;
    let mut texts = HashMap::with_capacity(dependencies.len());
    for dependency in dependencies {
        texts.insert(dependency.reference.name.clone(), dependency.text.clone());
    }
    let file = compile(source, texts)?;
    let main = file.main()?;
    let canonical = if has_custom_options(&main) && is_text {
        // Options of one's own mean something to somebody; the printer does not know them.
        text.trim().to_owned()
    } else {
        print::file(main.file_descriptor_proto())
    };
    let text = if is_text { text.to_owned() } else { canonical.clone() };
    Ok(Parsed { text, canonical, file })
}

fn source_of(text: &str) -> Result<(SourceFile, bool), String> {
    if let Some(descriptor) = decode_descriptor(text) {
        check_syntax(&descriptor)?;
        check_maps(&descriptor)?;
        let descriptor = FileDescriptorProto { name: Some(MAIN.to_owned()), ..descriptor };
        return Ok((SourceFile::from_file_descriptor_proto(descriptor), false));
    }
    check_depth(text)?;
    let file = SourceFile::from_source(MAIN, text).map_err(|error| reason(&error))?;
    Ok((file, true))
}

fn compile(source: SourceFile, texts: HashMap<String, String>) -> Result<File, String> {
    check_nodes(source.file_descriptor_proto())?;
    let resolver = Resolver { main: source.file_descriptor_proto().clone(), texts };
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler.open_file(MAIN).map_err(|error| reason(&error))?;
    Ok(File { pool: compiler.descriptor_pool() })
}

/// The compiler's message, with its causes.
fn reason(error: &protox::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    if error.is_file_not_found() || text.contains("not found") {
        text.push_str(". Imports are taken from `references` by their names; nothing is fetched");
    }
    text
}

/// A serialised descriptor never looks like a `.proto` file: base64 has no spaces, braces or semicolons.
fn decode_descriptor(text: &str) -> Option<FileDescriptorProto> {
    let bytes = STANDARD.decode(text.trim()).ok()?;
    FileDescriptorProto::decode(bytes.as_slice()).ok()
}

/// The crate that resolves names panics at a syntax that it does not know, such as that of editions.
fn check_syntax(file: &FileDescriptorProto) -> Result<(), String> {
    match file.syntax.as_deref() {
        None | Some("proto2" | "proto3") => Ok(()),
        Some(other) => {
            let shown: String = other.chars().take(40).collect();
            Err(format!("the descriptor's syntax is `{shown}`; proto2 and proto3 are known, editions are not"))
        }
    }
}

/// The same crate panics where an entry of a map has no key or no value, as no compiler writes it.
fn check_maps(file: &FileDescriptorProto) -> Result<(), String> {
    fn damaged(message: &DescriptorProto) -> Option<&str> {
        let is_entry = message.options.as_ref().is_some_and(prost_reflect::prost_types::MessageOptions::map_entry);
        let has = |number: i32| message.field.iter().any(|field| field.number == Some(number));
        if is_entry && !(has(1) && has(2)) {
            return Some(message.name.as_deref().unwrap_or_default());
        }
        message.nested_type.iter().find_map(damaged)
    }
    match file.message_type.iter().find_map(damaged) {
        None => Ok(()),
        Some(name) => {
            let shown: String = name.chars().take(40).collect();
            Err(format!("the descriptor's message `{shown}` is an entry of a map without its key (1) or value (2)"))
        }
    }
}

struct Resolver {
    main: FileDescriptorProto,
    texts: HashMap<String, String>,
}

impl FileResolver for Resolver {
    fn open_file(&self, name: &str) -> Result<SourceFile, protox::Error> {
        if name == MAIN {
            return Ok(SourceFile::from_file_descriptor_proto(self.main.clone()));
        }
        let text = self.texts.get(name).map(String::as_str).or_else(|| known::text(name));
        let Some(text) = text else { return GoogleFileResolver::new().open_file(name) };
        let refused = |reason: String| protox::Error::new(std::io::Error::other(reason));
        if let Some(descriptor) = decode_descriptor(text) {
            check_syntax(&descriptor).and_then(|()| check_maps(&descriptor)).map_err(refused)?;
            let descriptor = FileDescriptorProto { name: Some(name.to_owned()), ..descriptor };
            return Ok(SourceFile::from_file_descriptor_proto(descriptor));
        }
        check_depth(text).map_err(refused)?;
        SourceFile::from_source(name, text)
    }
}

/// The parser recurses into brackets.
fn check_depth(text: &str) -> Result<(), String> {
    let mut depth = 0usize;
    let mut quote = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(_), '\\') => {
                characters.next();
            }
            // A string ends with its line at the latest, so an apostrophe in a comment hides one line at most.
            (Some(open), c) if c == open || c == '\n' => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '/') if characters.peek() == Some(&'/') => while characters.next_if(|c| *c != '\n').is_some() {},
            (None, '{' | '[' | '(' | '<') => depth += 1,
            (None, '}' | ']' | ')' | '>') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
        if depth > DEPTH_MAX {
            return Err(format!("nested more than {DEPTH_MAX} levels deep"));
        }
    }
    Ok(())
}

/// Messages, fields and enum values are bounded before the file is resolved.
fn check_nodes(file: &FileDescriptorProto) -> Result<(), String> {
    fn of(message: &DescriptorProto) -> usize {
        let enums: usize = message.enum_type.iter().map(|e| 1 + e.value.len()).sum();
        1 + message.field.len() + enums + message.nested_type.iter().map(of).sum::<usize>()
    }
    let enums: usize = file.enum_type.iter().map(|e| 1 + e.value.len()).sum();
    let nodes = enums + file.extension.len() + file.message_type.iter().map(of).sum::<usize>();
    if nodes > NODES_MAX {
        return Err(format!("{nodes} messages, fields and values; at most {NODES_MAX} are taken"));
    }
    Ok(())
}

/// Options that extensions define: what is left of the descriptor's bytes when the known ones are taken away.
fn has_custom_options(file: &FileDescriptor) -> bool {
    file.encode_to_vec().len() != file.file_descriptor_proto().encoded_len()
}
