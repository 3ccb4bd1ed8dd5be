//! Avro rows: binary data of a writer's schema straight into column builders, and back byte for byte.
//!
//! The writer's schema is bound to the table once ([`AvroCodec::new`]): fields by name, types by the table of types, unions of
//! null and one type to nullable columns, other unions to rows with one column per branch. Avro has few ways to write
//! one value, so most rows come back from their columns alone; the rest (blocks of other sizes, long varints, fields
//! the table does not have) keep their bytes.

mod bind;
mod decode;
mod encode;
mod schema;

#[cfg(test)]
mod tests;

pub use bind::BindError;
pub use decode::{AvroCodec, AvroOptions};
pub use encode::AvroRows;
pub use schema::{AvroSchema, AvroSchemaError};
