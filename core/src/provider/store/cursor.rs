//! The opaque text in [`Page::next`](super::Page::next): the place of a list's last record in its order.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{IndexValue, Order, Query, Record};
use crate::ids::TenantId;

/// The place of a record in an order; a page goes on right after it, whether the record is still there or not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cursor {
    /// The value of the index that the list is ordered by; `None` in an order by id or when the record lacks it.
    pub value: Option<IndexValue>,
    /// The record's id.
    pub id: String,
    /// Whose the record is: the last tie-break, in the order's direction.
    pub tenant: TenantId,
}

impl Cursor {
    /// The place of `record` in the order of `query`.
    pub fn of(record: &Record, query: &Query) -> Self {
        let value = match &query.order {
            Order::IdAscending | Order::IdDescending => None,
            Order::IndexAscending(index) | Order::IndexDescending(index) => record.indexes.get(index).cloned(),
        };
        Self { value, id: record.key.id.clone(), tenant: record.key.tenant }
    }

    /// As text that only a list of the same kind and order takes.
    pub fn encode(self, query: &Query) -> String {
        let text = Text(list_name(query), self.value, self.id, self.tenant);
        // Strings, numbers and a UUID always have a JSON form; an empty cursor would be refused, not misread.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&text).unwrap_or_default())
    }

    /// Reads back [`Cursor::encode`]; `None` when `text` is something else or belongs to another list.
    pub fn decode(text: &str, query: &Query) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let Text(list, value, id, tenant) = serde_json::from_slice(&bytes).ok()?;
        (list == list_name(query)).then_some(Self { value, id, tenant })
    }
}

#[derive(Serialize, Deserialize)]
struct Text(String, Option<IndexValue>, String, TenantId);

fn list_name(query: &Query) -> String {
    match &query.order {
        Order::IdAscending => format!("{}+", query.kind),
        Order::IdDescending => format!("{}-", query.kind),
        Order::IndexAscending(index) => format!("{}+{index}", query.kind),
        Order::IndexDescending(index) => format!("{}-{index}", query.kind),
    }
}
