//! Following events as they are recorded.

use crate::matching::Matcher;
use crate::query::Query;
use crate::render;
use crate::store::{News, Store};
use loggia_api::audit::{AuditEvent, TailLine};
use loggia_model::Kind;
use std::sync::Arc;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

/// One reader of the tail.
pub struct Tail {
    news: Receiver<Arc<News>>,
    closing: watch::Receiver<bool>,
    matcher: Matcher,
    skipped: prometheus_client::metrics::counter::Counter,
}

impl Store {
    /// Events that match, from this moment on.
    pub fn tail(&self, query: &Query) -> Tail {
        Tail {
            news: self.news.subscribe(),
            closing: self.closing.subscribe(),
            matcher: Matcher::new(query),
            skipped: self.metrics.skipped.clone(),
        }
    }
}

impl Tail {
    /// Waits for the next line. Where more happened than this reader took, it is told how many
    /// events it did not get (matching or not). `None` once tails are to end.
    pub async fn next(&mut self) -> Option<TailLine> {
        loop {
            let news = tokio::select! {
                biased;
                _ = self.closing.wait_for(|closing| *closing) => return None,
                news = self.news.recv() => news,
            };
            match news {
                Ok(news) => {
                    if let Some(event) = line(&self.matcher, &news) {
                        return Some(TailLine::Event(Box::new(event)));
                    }
                }
                Err(RecvError::Lagged(skipped)) => {
                    self.skipped.inc_by(skipped);
                    return Some(TailLine::Skipped { skipped });
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// What a reader is shown of an entry. An action is shown as it is recorded, its result when that
/// comes; an action that only its result makes match is shown then, as a whole.
fn line(matcher: &Matcher, news: &News) -> Option<AuditEvent> {
    let Some(action) = &news.action else {
        let untold = news.record.kind == Some(Kind::RecordingGrown) && news.record.beside;
        if untold && !matcher.wants_results() {
            return None;
        }
        return matcher.matches(&news.record).then(|| render::event(&news.record));
    };
    if matcher.wants_results() {
        return matcher.matches(&news.record).then(|| render::event(&news.record));
    }
    if !matcher.matches(action) {
        return None;
    }
    let mut before = action.clone();
    before.result = None;
    let shown = if matcher.matches(&before) { &news.record } else { action };
    Some(render::event(shown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query;
    use crate::store::{Config, TAIL_EVENTS_MAX};
    use crate::testlog::Scene;
    use loggia_model::port::Follow;

    fn kinds(tail: &mut Tail) -> Vec<String> {
        let mut kinds = Vec::new();
        while let Ok(news) = tail.news.try_recv() {
            kinds.extend(line(&tail.matcher, &news).map(|event| event.kind));
        }
        kinds
    }

    #[test]
    fn an_action_is_told_at_once_and_its_result_when_it_comes() {
        let mut scene = Scene::new();
        let mut session = scene.start(1, "alice", "shop", "10.0.0.1");
        let store = Store::new(scene.log.clone(), Config::default());
        store.apply(&scene.all());
        let tail = |q: &str| store.tail(&query::parse(q, 0).unwrap());
        let mut all = tail("actor:alice");
        let mut failed = tail("outcome:error kind:sql.statement");
        let mut results = tail("kind:sql.result");
        let good = scene.statement(&mut session, "select 1");
        scene.result(&mut session, good, 1);
        let bad = scene.statement(&mut session, "select x");
        scene.failure(&mut session, bad, "no x");
        store.apply(&scene.all()[1..]);
        assert_eq!(kinds(&mut all), ["sql.statement", "sql.result", "sql.statement", "sql.result"]);
        assert_eq!(kinds(&mut failed), ["sql.statement"]);
        assert_eq!(kinds(&mut results), ["sql.result", "sql.result"]);
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_how_many_it_missed() {
        let mut scene = Scene::new();
        let mut session = scene.start(1, "alice", "shop", "10.0.0.1");
        let store = Store::new(scene.log.clone(), Config::default());
        let mut tail = store.tail(&query::parse("", 0).unwrap());
        for _ in 0..TAIL_EVENTS_MAX + 6 {
            scene.statement(&mut session, "select 1");
        }
        store.apply(&scene.all());
        assert_eq!(tail.next().await, Some(TailLine::Skipped { skipped: 7 }));
        assert!(matches!(tail.next().await, Some(TailLine::Event(_))));
        assert_eq!(store.metrics().skipped.get(), 7);
        store.end_tails();
        assert_eq!(tail.next().await, None);
        assert_eq!(store.tail(&query::parse("", 0).unwrap()).next().await, None);
    }
}
