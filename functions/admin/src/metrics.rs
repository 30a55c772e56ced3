//! `/admin/metrics` and `/metrics`: what the fleet did in a period, of every model in the catalog and of those beside it that were called.
//!
//! The figures are the ledger's and the health is the store's, so that every process shows the same, and one that has
//! served nothing too. What only this process knows stands under `process`.

use crate::Plane;
use crate::ask::Params;
use crate::guard::{Failure, Outcome, reply};
use crate::openmetrics;
use crate::quota::DEGRADED;
use axum::extract::State;
use axum::response::IntoResponse;
use gateway_core::clock::{DAY_MS, HOUR_MS};
use gateway_core::error::Error;
use gateway_core::ledger::{Calls, Figures, Period};
use gateway_core::limit::window::{beginning_of, instant_of};
use gateway_core::telemetry::metrics::of_fleet;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::Value;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// The maximum number of steps, and of days of a period.
const MAX_STEPS: u64 = 1000;
/// Models beside the catalog's that are listed by name; the calls of further ones are those of `…`.
const MAX_MODELS: usize = 1000;
const REST: &str = "…";

/// `GET /admin/metrics`
pub(crate) async fn show(State(plane): State<Arc<Plane>>, mut params: Params) -> Outcome {
    let gateway = &plane.gateway;
    let period = period(&mut params, gateway.clock.now_ms(), gateway.ledger.keeps_hours_ms())?;
    params.finish()?;
    let (figures, is_down) = plane.figures(&period).await?;
    let mut answer = reply(StatusCode::OK, &figures);
    answer.headers_mut().extend(is_down.then_some(DEGRADED));
    Ok(answer)
}

/// `GET /metrics`: the same of today (UTC), as OpenMetrics.
pub(crate) async fn scrape(State(plane): State<Arc<Plane>>, params: Params) -> Outcome {
    params.finish()?;
    let from_ms = plane.gateway.clock.now_ms() / DAY_MS * DAY_MS;
    let period = Period { from_ms, to_ms: from_ms + DAY_MS, step_ms: None };
    let (figures, is_down) = plane.figures(&period).await?;
    let headers = [(CONTENT_TYPE, openmetrics::CONTENT_TYPE)];
    Ok((headers, openmetrics::text(&figures, !is_down)).into_response())
}

impl Plane {
    /// The figures of a period, and whether the store that knows the models' health is down.
    async fn figures(&self, period: &Period) -> Result<(Value, bool), Failure> {
        let gateway = &self.gateway;
        let mut figures = gateway.ledger.figures(period).await?;
        let mut names: Vec<Arc<str>> = gateway.config.catalog.models.iter().map(|model| model.name.clone()).collect();
        // A client may name a simulated model that no list has.
        names.extend(others(&mut figures, &names));
        let (health, present) = (self.health(&names).await, self.names().await?);
        // What deleted tenants did is in the totals only.
        let tenants: Vec<_> =
            figures.tenants.iter().filter_map(|(uid, counts)| Some((present.present(uid)?.clone(), *counts))).collect();
        let models: Vec<_> = names.into_iter().zip(health.models).collect();
        let mut figures_json = of_fleet(period, &figures, &models, &tenants, &gateway.config.health);
        let mut process = gateway.metrics.to_json();
        process["log_lines_lost_total"] = gateway.losses.lines().into();
        process["receipts_lost_total"] = gateway.losses.receipts().into();
        process["faults"] = gateway.faults().await;
        figures_json.insert("process".to_owned(), process);
        Ok((figures_json.into(), health.is_down))
    }
}

/// The models that were called and are none of the catalog's; where they are too many, the last are made one.
fn others(figures: &mut Figures, catalog: &[Arc<str>]) -> Vec<Arc<str>> {
    let models = &mut figures.whole.models;
    let mut others: Vec<Arc<str>> = models.keys().filter(|name| !catalog.contains(name)).cloned().collect();
    if others.len() > MAX_MODELS {
        let mut rest = Calls::default();
        for name in others.drain(MAX_MODELS - 1..) {
            rest.absorb(&models.remove(&name).unwrap_or_default());
        }
        models.insert(REST.into(), rest);
        others.push(REST.into());
    }
    others
}

/// The period: today by default. What is given as an instant is taken for its hour, and for its
/// day where the steps are days or the ledger has no hours any more.
fn period(params: &mut Params, now_ms: u64, keeps_hours_ms: u64) -> Result<Period, Error> {
    let step_ms = match params.take("step").as_deref() {
        None => None,
        Some("hour") => Some(HOUR_MS),
        Some("day") => Some(DAY_MS),
        Some(_) => return Err(Error::invalid("step", "It must be hour or day.")),
    };
    let (from, to) = (instant(params, "from")?, instant(params, "to")?);
    let first_hour_ms = now_ms.saturating_sub(keeps_hours_ms) / DAY_MS * DAY_MS;
    let (last_ms, to_unit_ms) = to.unwrap_or((now_ms, DAY_MS));
    let from_ms = from.map_or(last_ms / DAY_MS * DAY_MS, |(from_ms, _)| from_ms);
    let is_old = from_ms < first_hour_ms;
    if is_old && step_ms == Some(HOUR_MS) {
        let days = keeps_hours_ms / DAY_MS;
        return Err(Error::invalid("from", format!("Hours are kept for {days} days; ask for `step=day`.")));
    }
    let unit_ms = if is_old || step_ms == Some(DAY_MS) { DAY_MS } else { HOUR_MS };
    let to_unit_ms = unit_ms.max(to_unit_ms);
    let (from_ms, to_ms) = (from_ms / unit_ms * unit_ms, last_ms / to_unit_ms * to_unit_ms + to_unit_ms);
    if from_ms >= to_ms {
        return Err(Error::invalid("from", "It must not be after `to`."));
    }
    if (to_ms - from_ms).div_ceil(step_ms.unwrap_or(DAY_MS)) > MAX_STEPS {
        let (name, what) = if step_ms == Some(HOUR_MS) { ("step", "steps") } else { ("from", "days") };
        return Err(Error::invalid(name, format!("There would be more than {MAX_STEPS} {what} up to `to`.")));
    }
    Ok(Period { from_ms, to_ms, step_ms })
}

/// From the instant or day `from` to the end of what `to` names; all times where neither is said.
pub(crate) fn span(params: &mut Params) -> Result<RangeInclusive<u64>, Error> {
    let (from, to) = (instant(params, "from")?, instant(params, "to")?);
    let from_ms = from.map_or(0, |(from_ms, _)| from_ms);
    // A day is meant to its end.
    let to_ms = to.map_or(u64::MAX, |(to_ms, unit_ms)| if unit_ms == DAY_MS { to_ms + DAY_MS - 1 } else { to_ms });
    if from_ms > to_ms {
        return Err(Error::invalid("from", "It must not be after `to`."));
    }
    Ok(from_ms..=to_ms)
}

/// A UTC day, an instant or Unix milliseconds, and how long what was named is.
pub(crate) fn instant(params: &mut Params, name: &str) -> Result<Option<(u64, u64)>, Error> {
    let Some(text) = params.take(name) else { return Ok(None) };
    let day = beginning_of(&text).map(|at_ms| (at_ms, DAY_MS));
    let ms = text.parse().ok().or_else(|| instant_of(&text));
    let ms = ms.filter(|at_ms| *at_ms <= crate::ask::LAST_MS).map(|at_ms| (at_ms, HOUR_MS));
    let wrong = || {
        Error::invalid(
            name,
            "It must be a UTC day as YYYY-MM-DD, an instant as YYYY-MM-DDTHH:MMZ, or Unix milliseconds.",
        )
    };
    day.or(ms).map(Some).ok_or_else(wrong)
}
