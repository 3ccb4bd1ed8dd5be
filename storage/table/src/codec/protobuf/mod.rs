//! Protobuf rows: messages of a writer's schema straight into column builders, and back byte for byte.
//!
//! A compiled file ([`ProtoFile`]) gives the messages of rows ([`ProtoSchema`]: one message with everything it contains put
//! in its place). It is bound to the table once ([`ProtobufCodec::new`]), by the names of fields. Serializers write fields
//! by ascending number, zeros of implicit presence not at all, and lengths and numbers as short as they go: such rows come
//! back from their columns alone. Every other spelling is understood as well (any order, fields twice, packed or not), and
//! such rows keep their bytes.
//!
//! | file | what |
//! |---|---|
//! | `schema.rs` | messages as codecs walk them, and their columns; stored in column segments |
//! | `descriptor.rs` | out of a compiled file |
//! | `bind.rs` | fields to columns |
//! | `wire.rs` | tags, varints, lengths |
//! | `decode.rs`, `quick.rs`, `normal.rs` | rows into builders; the most usual fields; rows of unusual spelling |
//! | `encode.rs` | arrays into rows |
//! | `leaf.rs`, `known.rs` | simple values; messages of Google's that are simple values here |

mod bind;
mod decode;
mod descriptor;
mod encode;
mod known;
mod leaf;
mod normal;
mod quick;
mod schema;
mod wire;

#[cfg(test)]
mod tests;

pub use bind::ProtoBindError;
pub use decode::{ProtoFit, ProtobufCodec, ProtobufOptions};
pub use descriptor::ProtoFile;
pub use encode::ProtobufRows;
pub use schema::{ProtoSchema, ProtoSchemaError};
