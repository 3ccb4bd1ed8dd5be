//! The table's columns as the codecs walk them.

use std::collections::HashMap;

use crate::schema::{DataType, Field, FieldId};

/// One column, item, map value or member.
#[derive(Debug, Clone)]
pub(crate) struct PlanField {
    pub(crate) id: FieldId,
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    pub(crate) nullable: bool,
    pub(crate) default: Option<String>,
    pub(crate) kind: Kind,
    /// Position among the columns (or members of the row).
    pub(crate) slot: usize,
    /// How many values one value takes at least: 1, or all members of a row.
    pub(crate) cells: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Simple,
    Array(Box<PlanField>),
    Map(Box<PlanField>),
    Row(Members),
}

/// Names that columns had in other versions of the table: rows of producers that still use them are understood, in rows
/// that are read later as well as in new ones.
pub type Aliases = HashMap<FieldId, Vec<String>>;

/// The members of an object.
#[derive(Debug, Clone)]
pub(crate) struct Members {
    pub(crate) fields: Vec<PlanField>,
    by_name: HashMap<String, usize>,
    by_id: HashMap<FieldId, usize>,
    pub(crate) cells: usize,
}

impl Members {
    /// The fields at `slots`, in this order.
    pub(crate) fn new(fields: &[Field], slots: &[usize], aliases: &Aliases) -> Members {
        let fields: Vec<_> = slots.iter().map(|slot| PlanField::new(&fields[*slot], *slot, aliases)).collect();
        let mut by_name: HashMap<_, _> =
            fields.iter().enumerate().map(|(index, field)| (field.name.clone(), index)).collect();
        // A name that is in use now means the column that has it.
        for (index, field) in fields.iter().enumerate().filter(|_| !aliases.is_empty()) {
            for alias in aliases.get(&field.id).into_iter().flatten() {
                by_name.entry(alias.clone()).or_insert(index);
            }
        }
        let by_id = fields.iter().enumerate().map(|(index, field)| (field.id, index)).collect();
        let cells = fields.iter().map(|field| field.cells).sum();
        Members { fields, by_name, by_id, cells }
    }

    /// The member called `key`; `guess` is tried first.
    pub(crate) fn find(&self, key: &str, guess: usize) -> Option<usize> {
        match self.fields.get(guess) {
            Some(field) if field.name == key => Some(guess),
            _ => self.by_name.get(key).copied(),
        }
    }

    /// The members for a writer's fields, each at most once: a field with the member's own name comes before one with a name
    /// that it had.
    pub(crate) fn bind<'n>(&self, names: impl Iterator<Item = &'n str>) -> Vec<Option<usize>> {
        let found = |(index, name): (usize, &str)| {
            self.find(name, index).map(|member| (member, self.fields[member].name == name))
        };
        let mut found: Vec<_> = names.enumerate().map(found).collect();
        let mut taken: Vec<_> = vec![false; self.fields.len()];
        for own in [true, false] {
            for slot in &mut found {
                match slot {
                    Some((member, is_own)) if *is_own == own && !std::mem::replace(&mut taken[*member], true) => {}
                    Some((_, is_own)) if *is_own == own => *slot = None,
                    _ => {}
                }
            }
        }
        found.into_iter().map(|slot| slot.map(|(member, _)| member)).collect()
    }

    pub(crate) fn find_id(&self, id: FieldId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }
}

impl PlanField {
    pub(crate) fn new(field: &Field, slot: usize, aliases: &Aliases) -> PlanField {
        let kind = match &field.data_type {
            DataType::Array(item) => Kind::Array(Box::new(PlanField::new(item, 0, aliases))),
            DataType::Map(_, value) => Kind::Map(Box::new(PlanField::new(value, 1, aliases))),
            DataType::Row(members) => {
                Kind::Row(Members::new(members, &(0..members.len()).collect::<Vec<_>>(), aliases))
            }
            _ => Kind::Simple,
        };
        let cells = if let Kind::Row(members) = &kind { 1 + members.cells } else { 1 };
        PlanField {
            id: field.id,
            name: field.name.clone(),
            data_type: field.data_type.clone(),
            nullable: field.nullable,
            default: field.default.clone(),
            kind,
            slot,
            cells,
        }
    }
}
