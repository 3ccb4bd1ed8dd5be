//! Rows as aligned columns. The first rows say how wide columns are; a later value that is wider moves its line only.

use std::io::{self, Write};

use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Fields};

use super::csv::unquoted;
use super::json::write_value;

/// Rows that are held back to find out how wide columns are.
const HELD_ROWS_MAX: usize = 500;
/// Widest column; longer values are printed whole and move their line.
const WIDTH_MAX: usize = 60;
/// Between two columns.
const GAP: &str = "  ";

#[derive(Default)]
pub(super) struct Table {
    held: Vec<Vec<String>>,
    /// Width and whether to align right; empty before the first line was printed.
    columns: Vec<(usize, bool)>,
}

impl Table {
    /// Takes rows; prints them when enough are held.
    pub(super) fn push(&mut self, fields: &Fields, columns: &[ArrayRef], out: &mut impl Write) -> io::Result<()> {
        if self.held.is_empty() && self.columns.is_empty() {
            self.held.push(fields.iter().map(|field| field.name().clone()).collect());
            let align = |field: &DataType| (0, field.is_numeric());
            self.columns = fields.iter().map(|field| align(field.data_type())).collect();
        }
        for row in 0..columns.first().map_or(0, |column| column.len()) {
            let cells = fields.iter().zip(columns).map(|(field, column)| {
                let mut json = Vec::new();
                write_value(field, column, row, field.name().starts_with('_'), &mut json);
                let text = if column.is_null(row) { b"-".to_vec() } else { unquoted(column, json) };
                // One row, one line.
                String::from_utf8_lossy(&text).replace(['\n', '\r', '\t'], " ")
            });
            self.held.push(cells.collect());
            if self.held.len() > HELD_ROWS_MAX {
                self.print(out)?;
            }
        }
        Ok(())
    }

    /// Prints what is held.
    pub(super) fn print(&mut self, out: &mut impl Write) -> io::Result<()> {
        for cells in &self.held {
            for ((width, _), cell) in self.columns.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count().min(WIDTH_MAX));
            }
        }
        for cells in self.held.drain(..) {
            let mut line = String::new();
            for (at, ((width, right), cell)) in self.columns.iter().zip(&cells).enumerate() {
                if at > 0 {
                    line.push_str(GAP);
                }
                let (width, right) = (*width, *right);
                line.push_str(&if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") });
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
