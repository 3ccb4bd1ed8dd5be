//! A JSON Schema's text and the documents that it refers to, with members in the order in which they were written.

use std::collections::HashMap;
use std::fmt;

use percent_encoding::percent_decode_str;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// JSON whose members keep their order: that of `properties` becomes the order of columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    pub(super) fn members(&self) -> &[(String, Node)] {
        match self {
            Node::Object(members) => members,
            _ => &[],
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        // Of members that are there twice the last one counts, as everywhere.
        self.members().iter().rev().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    pub(super) fn list(&self, name: &str) -> Option<&[Node]> {
        match self.get(name) {
            Some(Node::List(items)) => Some(items),
            _ => None,
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Node::as_text)
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Where a JSON pointer leads.
    fn pointer(&self, pointer: &str) -> Option<&Node> {
        let mut at = self;
        for part in pointer.split('/').skip(1) {
            let name = part.replace("~1", "/").replace("~0", "~");
            at = match at {
                Node::List(items) => items.get(name.parse::<usize>().ok()?)?,
                other => other.get(&name)?,
            };
        }
        Some(at)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(Nodes)
    }
}

struct Nodes;

impl<'de> Visitor<'de> for Nodes {
    type Value = Node;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        Number::from_f64(value).map(Node::Number).ok_or_else(|| E::custom("a number that is none"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = items.next_element()? {
            out.push(item);
        }
        Ok(Node::List(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut out = Vec::new();
        while let Some(member) = members.next_entry()? {
            out.push(member);
        }
        Ok(Node::Object(out))
    }
}

/// The schema, first, and what it refers to.
#[derive(Debug, Clone)]
pub(super) struct Documents(Vec<Document>);

#[derive(Debug, Clone)]
struct Document {
    root: Node,
    /// Its name as a reference, if it is one.
    name: Option<String>,
    /// Its `$id`.
    id: String,
    /// Names of its parts, with where these are.
    anchors: HashMap<String, String>,
}

/// A part of a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) node: &'a Node,
    pub(super) document: usize,
}

impl Documents {
    /// Name and text of each reference. The error is the parser's.
    pub(super) fn parse(references: &[(String, String)], text: &str) -> Result<Documents, serde_json::Error> {
        let mut all = vec![Document::parse(None, text)?];
        for (name, text) in references {
            all.push(Document::parse(Some(name), text)?);
        }
        Ok(Documents(all))
    }

    pub(super) fn root(&self) -> Place<'_> {
        Place { node: &self.0[0].root, document: 0 }
    }

    /// What a `$ref` in document `from` points to.
    pub(super) fn resolve(&self, from: usize, reference: &str) -> Option<Place<'_>> {
        let (name, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let document = if name.is_empty() { from } else { self.named(from, name)? };
        let found = &self.0[document];
        let fragment = percent_decode_str(fragment).decode_utf8_lossy().into_owned();
        let node = if fragment.is_empty() || fragment.starts_with('/') {
            found.root.pointer(&fragment)
        } else {
            found.root.pointer(found.anchors.get(&fragment)?)
        };
        node.map(|node| Place { node, document })
    }

    /// A document by its name as a reference, or by its `$id`, which may be told as seen from another one's.
    fn named(&self, from: usize, name: &str) -> Option<usize> {
        let base = &self.0[from].id;
        let folder = base.rfind('/').map_or("", |at| &base[..=at]);
        let beside = format!("{folder}{}", name.trim_start_matches("./"));
        let is = |document: &Document| {
            document.name.as_deref() == Some(name)
                || (!document.id.is_empty() && [name, beside.as_str()].contains(&document.id.as_str()))
        };
        self.0.iter().position(is)
    }
}

impl Document {
    fn parse(name: Option<&String>, text: &str) -> Result<Document, serde_json::Error> {
        // The parser refuses more than 128 levels.
        let root: Node = serde_json::from_str(text)?;
        let id = root.text("$id").or_else(|| root.text("id")).unwrap_or_default().trim_end_matches('#').to_owned();
        let mut anchors = HashMap::new();
        find_anchors(&root, &mut Vec::new(), &mut anchors);
        Ok(Document { root, name: name.map(|name| name.trim_end_matches('#').to_owned()), id, anchors })
    }
}

fn find_anchors<'a>(node: &'a Node, path: &mut Vec<&'a str>, anchors: &mut HashMap<String, String>) {
    for (name, member) in node.members() {
        let anchor = match (name.as_str(), member) {
            ("$anchor" | "$dynamicAnchor", Node::Text(anchor)) => Some(anchor.as_str()),
            // As it was written up to draft 7.
            ("$id" | "id", Node::Text(id)) => id.strip_prefix('#').filter(|anchor| !anchor.is_empty()),
            _ => None,
        };
        if let Some(anchor) = anchor {
            let escaped = path.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1")));
            anchors.entry(anchor.to_owned()).or_insert_with(|| escaped.collect());
        }
        path.push(name);
        // Parts of lists are named by references to their place only.
        find_anchors(member, path, anchors);
        path.pop();
    }
}
