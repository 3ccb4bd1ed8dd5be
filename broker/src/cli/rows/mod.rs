//! Rows of columns on standard output: JSON lines, CSV, a table for people, an Arrow IPC stream, or a Parquet file.
//!
//! | file | what |
//! |---|---|
//! | `json.rs` | a value as JSON, in the forms of the JSON rows of a typed topic |
//! | `csv.rs` | RFC 4180, nested values as JSON |
//! | `table.rs` | aligned columns |

mod csv;
mod json;
mod table;

use std::io::{self, Write};

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

/// `-o` of a consume with columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RowFormat {
    /// One JSON object per row
    Json,
    /// Comma-separated values with a header line
    Csv,
    /// An Arrow IPC stream
    Arrow,
    /// A Parquet file
    Parquet,
    /// Columns for people
    Table,
}

/// Memory of a Parquet row group before it is written.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Writes batches of one schema.
pub(crate) struct RowWriter<W: Write + Send> {
    out: Output<W>,
}

enum Output<W: Write + Send> {
    Json {
        out: W,
        line: Vec<u8>,
    },
    Csv {
        out: W,
        line: Vec<u8>,
        started: bool,
    },
    Table {
        out: W,
        table: table::Table,
    },
    /// The stream begins with the schema of the first batch.
    ArrowUnopened(W),
    Arrow(StreamWriter<W>),
    ParquetUnopened(W),
    Parquet(Box<ArrowWriter<W>>),
    Closed,
}

impl<W: Write + Send> RowWriter<W> {
    pub(crate) fn new(format: RowFormat, out: W) -> Self {
        let line = Vec::new();
        let out = match format {
            RowFormat::Json => Output::Json { out, line },
            RowFormat::Csv => Output::Csv { out, line, started: false },
            RowFormat::Table => Output::Table { out, table: table::Table::default() },
            RowFormat::Arrow => Output::ArrowUnopened(out),
            RowFormat::Parquet => Output::ParquetUnopened(out),
        };
        Self { out }
    }

    /// Writes the rows of a batch.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> io::Result<()> {
        match &mut self.out {
            Output::Json { out, line } => {
                let columns = plain_columns(batch)?;
                let fields = batch.schema_ref().fields();
                for row in 0..batch.num_rows() {
                    line.clear();
                    json::write_object(fields, &columns, row, line);
                    line.push(b'\n');
                    out.write_all(line)?;
                }
                Ok(())
            }
            Output::Csv { out, line, started } => {
                if !std::mem::replace(started, true) {
                    line.clear();
                    csv::write_header(batch.schema_ref(), line);
                    out.write_all(line)?;
                }
                let columns = plain_columns(batch)?;
                for row in 0..batch.num_rows() {
                    line.clear();
                    csv::write_row(batch.schema_ref().fields(), &columns, row, line);
                    out.write_all(line)?;
                }
                Ok(())
            }
            Output::Table { out, table } => table.push(batch.schema_ref().fields(), &plain_columns(batch)?, out),
            Output::Arrow(writer) => writer.write(batch).map_err(io_error),
            Output::Parquet(writer) => writer.write(batch).map_err(parquet_error),
            Output::ArrowUnopened(_) | Output::ParquetUnopened(_) => {
                self.open(&batch.schema())?;
                self.write(batch)
            }
            Output::Closed => Ok(()),
        }
    }

    fn open(&mut self, schema: &SchemaRef) -> io::Result<()> {
        self.out = match std::mem::replace(&mut self.out, Output::Closed) {
            Output::ArrowUnopened(out) => Output::Arrow(StreamWriter::try_new(out, schema).map_err(io_error)?),
            Output::ParquetUnopened(out) => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::SNAPPY)
                    .set_max_row_group_bytes(Some(ROW_GROUP_BYTES));
                let writer = ArrowWriter::try_new(out, schema.clone(), Some(properties.build()));
                Output::Parquet(Box::new(writer.map_err(parquet_error)?))
            }
            other => other,
        };
        Ok(())
    }

    /// Hands everything written so far to the reader of the output.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Output::Json { out, .. } | Output::Csv { out, .. } => out.flush(),
            Output::ArrowUnopened(out) | Output::ParquetUnopened(out) => out.flush(),
            Output::Table { out, table } => {
                table.print(out)?;
                out.flush()
            }
            Output::Arrow(writer) => writer.flush().map_err(io_error),
            // A row group is written when it is full; more of them would make a worse file.
            Output::Parquet(_) | Output::Closed => Ok(()),
        }
    }

    /// Ends the output. If there was no row, `schema` (where it is known) makes it a valid file without rows.
    pub(crate) fn finish(&mut self, schema: Option<&SchemaRef>) -> io::Result<()> {
        if let (Output::ArrowUnopened(_) | Output::ParquetUnopened(_), Some(schema)) = (&self.out, schema) {
            self.open(schema)?;
        }
        if let (Output::Csv { out, line, started: started @ false }, Some(schema)) = (&mut self.out, schema) {
            *started = true;
            csv::write_header(schema, line);
            out.write_all(line)?;
        }
        match &mut self.out {
            Output::Arrow(writer) => writer.finish().map_err(io_error)?,
            // Its footer makes it a file, so this also ends one that was interrupted.
            Output::Parquet(writer) => drop(writer.finish().map_err(parquet_error)?),
            _ => {}
        }
        self.flush()
    }
}

fn io_error(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, source) => source,
        other => io::Error::other(other),
    }
}

fn parquet_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => *source,
            Err(source) => io::Error::other(source),
        },
        other => io::Error::other(other),
    }
}

/// Dictionaries as the values they stand for.
fn plain_columns(batch: &RecordBatch) -> io::Result<Vec<ArrayRef>> {
    let plain = |column: &ArrayRef| match column.data_type() {
        DataType::Dictionary(_, values) => arrow_cast::cast(column, values).map_err(io_error),
        _ => Ok(column.clone()),
    };
    batch.columns().iter().map(plain).collect()
}

#[cfg(test)]
mod tests;
