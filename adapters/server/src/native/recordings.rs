//! Recordings by the expiring links that webhooks and answers name.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use offhook::ids::{CallId, TenantId};

use crate::app::App;
use crate::problem::{Answer, Kind, Problem};

/// The sound of a call, to whoever has its link.
#[utoipa::path(
    get,
    operation_id = "open_recording",
    path = "/recordings/{tenant}/{call}",
    tag = "recordings",
    params(("tenant" = String, Path), ("call" = String, Path), ("expires" = String, Query), ("signature" = String, Query)),
    responses((status = 200, description = "WAV", content_type = "audio/wav"), (status = 206), (status = 401), (status = 404), (status = 416)),
)]
pub(crate) async fn open(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Answer<Response> {
    let (tenant, call) = app.engine().recordings().open_link(uri.path(), uri.query().unwrap_or_default())?;
    stream(&app, tenant, call, &headers).await
}

/// A recording, or the part of it that `Range` asks for (RFC 9110, section 14).
pub(crate) async fn stream(app: &App, tenant: TenantId, call: CallId, headers: &HeaderMap) -> Answer<Response> {
    let recordings = app.engine().recordings();
    let length = recordings.length(tenant, call).await?;
    let range = match headers.get(header::RANGE).and_then(|range| range.to_str().ok()) {
        Some(range) => range_of(range, length),
        None => Asked::All,
    };
    let (status, from, to) = match range {
        Asked::All => (StatusCode::OK, 0, length),
        Asked::Part(from, to) => (StatusCode::PARTIAL_CONTENT, from, to),
        Asked::Nothing => {
            let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
            set(&mut response, header::CONTENT_RANGE, &format!("bytes */{length}"));
            return Ok(response);
        }
    };
    let sound = recordings.read(tenant, call, from, to - from).await?;
    let mut response = (status, Body::from_stream(sound)).into_response();
    set(&mut response, header::CONTENT_TYPE, "audio/wav");
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(&mut response, header::CONTENT_LENGTH, &(to - from).to_string());
    set(&mut response, header::CACHE_CONTROL, "private, no-store");
    if status == StatusCode::PARTIAL_CONTENT {
        set(&mut response, header::CONTENT_RANGE, &format!("bytes {from}-{}/{length}", to - 1));
    }
    Ok(response)
}

#[derive(Debug, Eq, PartialEq)]
enum Asked {
    All,
    Nothing,
    /// From the first byte inside to the first outside.
    Part(u64, u64),
}

/// One range; several, or another unit, count as all of it, which the standard allows.
fn range_of(header: &str, length: u64) -> Asked {
    let Some(spec) = header.trim().strip_prefix("bytes=").filter(|spec| !spec.contains(',')) else { return Asked::All };
    let Some((first, last)) = spec.split_once('-') else { return Asked::All };
    let (first, last) = (first.trim(), last.trim());
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), _) if first >= length => Asked::Nothing,
        (Ok(first), Ok(last)) if last < first => Asked::All,
        (Ok(first), Ok(last)) => Asked::Part(first, last.saturating_add(1).min(length)),
        (Ok(first), Err(_)) if last.is_empty() => Asked::Part(first, length),
        (Err(_), Ok(last)) if first.is_empty() => match last.min(length) {
            0 => Asked::Nothing,
            last => Asked::Part(length - last, length),
        },
        _ => Asked::All,
    }
}

fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

impl Problem {
    /// Nothing was recorded, or it was deleted.
    pub(crate) fn no_recording() -> Self {
        Self::new(Kind::NotFound, "there is no recording of this call")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vs_a11_a_range_is_a_part_of_what_there_is() {
        for (header, asked) in [
            ("bytes=0-", Asked::Part(0, 100)),
            ("bytes=0-0", Asked::Part(0, 1)),
            ("bytes=10-19", Asked::Part(10, 20)),
            ("bytes=90-200", Asked::Part(90, 100)),
            ("bytes=-10", Asked::Part(90, 100)),
            ("bytes=-1000", Asked::Part(0, 100)),
            ("bytes=-0", Asked::Nothing),
            ("bytes=100-", Asked::Nothing),
            ("bytes=20-10", Asked::All),
            ("bytes=0-1,5-6", Asked::All),
            ("lines=1-2", Asked::All),
            ("bytes=x-y", Asked::All),
            ("bytes=-", Asked::All),
        ] {
            assert_eq!(range_of(header, 100), asked, "{header}");
        }
        assert_eq!(range_of("bytes=0-", 0), Asked::Nothing);
    }
}
