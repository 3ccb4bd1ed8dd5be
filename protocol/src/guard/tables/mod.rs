//! The request shapes, one file per family. Names and versions are those of Kafka's message definitions; an API is
//! listed in the versions that the protocol crate's structs decode. What the broker advertises is its own, smaller
//! table.

mod admin;
mod data;
mod groups;
mod security;
mod share;
mod transactions;

use super::shape::Api;

const FAMILIES: [&[Api]; 6] = [data::APIS, groups::APIS, share::APIS, transactions::APIS, admin::APIS, security::APIS];

/// API keys are small; the table is direct so that the lookup costs nothing per request.
const KEYS: usize = 128;

static BY_KEY: [Option<&Api>; KEYS] = by_key();

const fn by_key() -> [Option<&'static Api>; KEYS] {
    let mut table = [None; KEYS];
    let mut family = 0;
    while family < FAMILIES.len() {
        let apis = FAMILIES[family];
        let mut i = 0;
        while i < apis.len() {
            // A key beyond the table or listed twice stops the build.
            let key = apis[i].key as usize;
            assert!(table[key].is_none());
            table[key] = Some(&apis[i]);
            i += 1;
        }
        family += 1;
    }
    table
}

/// The shape of an API's requests, if it is one that we can read.
pub(crate) fn api(api_key: i16) -> Option<&'static Api> {
    BY_KEY.get(usize::try_from(api_key).ok()?).copied().flatten()
}

/// All of them, by key.
#[cfg(test)]
pub(crate) fn all() -> impl Iterator<Item = &'static Api> {
    BY_KEY.iter().flatten().copied()
}
