//! Pages of lists as JSON, which are made anew only when what they show has changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use offhook::ids::TenantId;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::problem::{Answer, Kind, Problem};
use crate::request::Query;

/// Bytes that are remembered at most. Beyond it, everything is forgotten and those that are asked for come back.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a page takes beside its text.
const PAGE_BYTES: usize = 512;

/// A page of a list.
#[derive(Clone)]
pub(crate) struct Page {
    /// An array.
    pub(crate) items: Arc<RawValue>,
    /// How many there are on all pages.
    pub(crate) total: u64,
}

/// Where a page is asked for.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    /// Which list, by the path of its API.
    pub(crate) list: &'static str,
    pub(crate) query: Query,
    pub(crate) tenant: TenantId,
}

/// Pages that were asked for.
#[derive(Default)]
pub(crate) struct Pages {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    bytes: usize,
    pages: BTreeMap<Place, (u64, Page)>,
}

impl Pages {
    /// The page at `place`: as it is remembered of that version of what it shows, or else as `make` makes it.
    pub(crate) async fn get<T: Serialize>(
        &self,
        place: Place,
        version: Option<u64>,
        make: impl Future<Output = Answer<(Vec<T>, u64)>>,
    ) -> Answer<Page> {
        if let Some(page) = version.and_then(|version| self.known().find(&place, version)) {
            return Ok(page);
        }
        let (items, total) = make.await?;
        let items = to_raw_value(&items).map_err(|_| Problem::new(Kind::Internal, "a page cannot be written"))?;
        let page = Page { items: items.into(), total };
        if let Some(version) = version {
            self.known().keep(place, version, page.clone());
        }
        Ok(page)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // Nothing that runs under the lock can panic half way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn find(&self, place: &Place, version: u64) -> Option<Page> {
        let (known, page) = self.pages.get(place)?;
        (*known == version).then(|| page.clone())
    }

    fn keep(&mut self, place: Place, version: u64, page: Page) {
        let bytes = weight(&place, &page);
        if self.bytes + bytes > BYTES_MAX {
            *self = Self::default();
        }
        if bytes > BYTES_MAX {
            return;
        }
        self.bytes += bytes;
        let before = self.pages.insert(place.clone(), (version, page));
        self.bytes -= before.map_or(0, |(_, page)| weight(&place, &page));
    }
}

fn weight(place: &Place, page: &Page) -> usize {
    PAGE_BYTES + place.query.bytes() + page.items.get().len()
}

#[cfg(test)]
mod tests {
    use offhook::time::Timestamp;

    use super::*;

    #[tokio::test]
    async fn a_page_is_made_once_for_each_version() {
        let pages = Pages::default();
        let place = |query: &str| Place { list: "calls", query: Query::parse(query), tenant: tenant(1) };
        let get = async |place: Place, version, item: &'static str| {
            let page = pages.get(place, version, async move { Ok((vec![item], 1)) }).await.unwrap();
            page.items.get().to_owned()
        };
        assert_eq!(get(place(""), Some(1), "a").await, r#"["a"]"#);
        assert_eq!(get(place(""), Some(1), "b").await, r#"["a"]"#);
        assert_eq!(get(place("limit=2"), Some(1), "c").await, r#"["c"]"#);
        assert_eq!(get(Place { tenant: tenant(2), ..place("") }, Some(1), "d").await, r#"["d"]"#);
        assert_eq!(get(place(""), Some(2), "e").await, r#"["e"]"#);
        assert_eq!(get(place(""), Some(2), "f").await, r#"["e"]"#);
        assert_eq!(get(place(""), None, "g").await, r#"["g"]"#);
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let pages = Pages::default();
        let large = "x".repeat(BYTES_MAX / 8);
        for number in 0..20 {
            let place = Place { list: "calls", query: Query::parse(&format!("offset={number}")), tenant: tenant(1) };
            pages.get(place.clone(), Some(1), async { Ok((vec![large.clone()], 1)) }).await.unwrap();
            pages.get(place, Some(2), async { Ok((vec![large.clone()], 1)) }).await.unwrap();
            let known = pages.known();
            let held: usize = known.pages.iter().map(|(place, (_, page))| weight(place, page)).sum();
            assert_eq!(known.bytes, held);
            assert!(held <= BYTES_MAX);
        }
    }

    fn tenant(number: u8) -> TenantId {
        TenantId::new(Timestamp::default(), [number; 10])
    }
}
