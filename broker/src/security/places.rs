//! Open connections by principal (setting `max.connections.per.principal`).
//!
//! A connection takes a place when its principal is known and keeps it to its end: after SASL, or with the TLS handshake where the
//! certificate is what counts. Authenticating again takes no other place, and who nobody knows takes none. A connection over HTTP has a
//! place of whoever its newest request is of.
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use thiserror::Error;

use super::Principal;

/// A principal whose connections are refused is in the log once in so many milliseconds.
const TOLD_EVERY_MS: u64 = 10_000;

/// How many connections each principal has.
#[derive(Debug, Default)]
pub struct PrincipalPlaces {
    /// As large as there are principals with a connection.
    open: Mutex<HashMap<Arc<Principal>, Of>>,
}

#[derive(Debug, Default)]
struct Of {
    open: usize,
    /// When a refusal was in the log, and how many were not since.
    told_ms: Option<u64>,
    untold: u64,
}

/// A connection's place among those of its principal; dropping it frees the place.
#[derive(Debug)]
pub struct PrincipalPlace {
    places: Arc<PrincipalPlaces>,
    principal: Arc<Principal>,
}

/// A principal has as many connections as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the principal has {limit} connections open, as many as it may (setting `max.connections.per.principal`)")]
pub struct NoPlace {
    /// As many.
    pub limit: usize,
    /// `Some`: this refusal belongs in the log, and so many of the same principal before it were kept out.
    pub tell: Option<u64>,
}

impl PrincipalPlaces {
    /// A place, if the principal has fewer than `limit`. `now_ms`: of a clock that does not go back.
    pub fn take(
        self: &Arc<Self>,
        principal: &Arc<Principal>,
        limit: usize,
        now_ms: u64,
    ) -> Result<PrincipalPlace, NoPlace> {
        let mut open = self.open.lock();
        let of = open.entry(principal.clone()).or_default();
        if of.open >= limit {
            let tell = of.told_ms.is_none_or(|told| now_ms.saturating_sub(told) >= TOLD_EVERY_MS);
            if !tell {
                of.untold += 1;
                return Err(NoPlace { limit, tell: None });
            }
            of.told_ms = Some(now_ms);
            return Err(NoPlace { limit, tell: Some(std::mem::take(&mut of.untold)) });
        }
        of.open += 1;
        Ok(PrincipalPlace { places: self.clone(), principal: principal.clone() })
    }

    /// Connections that a principal has now.
    #[must_use]
    pub fn open(&self, principal: &Principal) -> usize {
        self.open.lock().get(principal).map_or(0, |of| of.open)
    }
}

impl PrincipalPlace {
    /// Whose it is.
    #[must_use]
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }
}

impl Drop for PrincipalPlace {
    fn drop(&mut self) {
        let mut open = self.places.open.lock();
        if let Some(of) = open.get_mut(&self.principal) {
            of.open -= 1;
            if of.open == 0 {
                open.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Arc<Principal> {
        Arc::new(Principal::user(name))
    }

    #[test]
    fn each_principal_has_places_of_its_own_and_gets_them_back() {
        let places = Arc::new(PrincipalPlaces::default());
        let (a, b) = (user("a"), user("b"));
        let first = places.take(&a, 2, 0).unwrap();
        let _second = places.take(&user("a"), 2, 0).unwrap();
        assert!(places.take(&a, 2, 0).is_err());
        let of_b = places.take(&b, 2, 0).unwrap();
        drop(first);
        let _third = places.take(&a, 2, 0).unwrap();
        assert_eq!((places.open(&a), places.open(&b)), (2, 1));
        // A limit that was lowered leaves those that are open, and one that was raised is in force at once.
        assert!(places.take(&a, 1, 0).is_err());
        assert!(places.take(&a, 3, 0).is_ok());
        drop(of_b);
        assert_eq!(places.open.lock().len(), 1, "who has no connection is forgotten");
    }

    #[test]
    fn refusals_of_a_principal_are_told_once_in_a_while() {
        let places = Arc::new(PrincipalPlaces::default());
        let (a, b) = (user("a"), user("b"));
        let (_of_a, _of_b) = (places.take(&a, 1, 0).unwrap(), places.take(&b, 1, 0).unwrap());
        let told = |principal, now_ms| places.take(principal, 1, now_ms).unwrap_err().tell;
        assert_eq!([told(&a, 1), told(&a, 2), told(&a, TOLD_EVERY_MS)], [Some(0), None, None]);
        assert_eq!(told(&b, 3), Some(0), "one does not hide the other");
        assert_eq!([told(&a, TOLD_EVERY_MS + 1), told(&a, TOLD_EVERY_MS + 2)], [Some(2), None]);
    }
}
