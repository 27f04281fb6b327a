//! The clock on the wall of a time zone, as templates name it.

use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::time::Timestamp;

/// The zone of that IANA name; `None` is UTC. `ConfigInvalid` when there is none.
pub(super) fn zone(name: Option<&str>) -> Result<TimeZone> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    TimeZoneDatabase::bundled().get(name).map_err(|error| {
        Error::new(ErrorKind::ConfigInvalid, "time_zone.parse", "not a time zone such as Asia/Jakarta")
            .with_source(error)
    })
}

/// A moment by the clock on the wall of the zone.
pub(super) fn zoned(moment: Timestamp, zone: &TimeZone, format: &str) -> String {
    let moment = jiff::Timestamp::from_microsecond(moment.as_unix_micros()).unwrap_or_default();
    moment.to_zoned(zone.clone()).strftime(format).to_string()
}

/// The namespace `system` (FL-034).
pub(super) fn system(now: Timestamp, zone: &TimeZone) -> Map<String, Value> {
    let now = |format| Value::String(zoned(now, zone, format));
    [
        ("current_date", now("%d %B %Y")),
        ("current_datetime", now("%d %B %Y %I:%M %p %Z")),
        ("current_time", now("%I:%M %p %Z")),
        ("timezone", json!(zone.iana_name().unwrap_or("UTC"))),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
