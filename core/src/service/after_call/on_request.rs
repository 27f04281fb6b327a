//! The analysis of a call that nobody has planned, when somebody asks for it.

use std::time::Duration;

use crate::billing::Usage;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CallId, TenantId};
use crate::provider::store::{Batch, Expect, Put, RecordKey};
use crate::runtime;
use crate::service::analysis::{self, Analysis, AnalysisPlan};
use crate::service::calls::{CALL, Calls, StoredCall};
use crate::service::webhooks::{from_value, to_value};

/// Longest wait for a model, while whoever asked waits too.
const MODEL_TIMEOUT: Duration = Duration::from_secs(15);

/// How often a commit is tried that others keep overtaking.
const CONFLICTS_MAX: u32 = 8;

impl Calls {
    /// What a call that is over came to: as it was found out before, else by `plan`, and kept. Where the model does not
    /// answer soon, rules say it.
    ///
    /// `NotFound` when there is no such call, `Conflict` while it goes on.
    pub async fn analyse(&self, tenant: TenantId, call: CallId, plan: &AnalysisPlan) -> Result<Analysis> {
        let mut found = None;
        for _ in 0..CONFLICTS_MAX {
            let Some(row) = self.store.get(RecordKey::new(tenant, CALL, call)).await? else {
                return Err(Error::new(ErrorKind::NotFound, "calls.analyse", "there is no such call"));
            };
            let mut stored: StoredCall = from_value(&row.body)?;
            if let Some(analysis) = stored.analysis {
                return Ok(analysis);
            }
            if stored.lease.is_some() {
                return Err(Error::new(ErrorKind::Conflict, "calls.analyse", "the call is not over"));
            }
            let (analysis, usage) = match found {
                Some(found) => found,
                None => self.ask_or_rule(plan, &stored).await,
            };
            found = Some((analysis.clone(), usage.clone()));
            stored.analysis = Some(analysis.clone());
            stored.usage.merge(&usage);
            stored.costs = self.prices.costs(&stored.usage);
            let mut batch = Batch::default();
            batch.put(Put {
                key: row.key,
                expect: Expect::Revision(row.revision),
                indexes: row.indexes,
                due_at: row.due_at,
                body: to_value(&stored)?,
            });
            match self.store.commit(batch).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                result => return result.map(|_| analysis),
            }
        }
        Err(Error::new(ErrorKind::Conflict, "calls.analyse", "the call was changed by others too often"))
    }

    async fn ask_or_rule(&self, plan: &AnalysisPlan, stored: &StoredCall) -> (Analysis, Usage) {
        let mut usage = Usage::default();
        let analysis = self.after_calls.analyse(plan, &stored.record, &mut usage);
        let analysis = runtime::timeout(&*self.runtime, MODEL_TIMEOUT, "calls.analyse", analysis).await;
        let analysis = analysis.unwrap_or_else(|error| {
            tracing::warn!(%error, call = %stored.record.id, "a call is analysed by rules");
            analysis::by_rules(plan, &stored.record)
        });
        (analysis, usage)
    }
}
