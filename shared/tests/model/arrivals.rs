//! What the store is told, and what it must answer.

use super::{LEASE_MS, Message, Stage, VERSION, World, ZERO, larger};
use gateway_core::money::Charged;
use gateway_core::store::{Counters, Refusal, Settled, Ticket, Verdict};
use std::sync::Arc;

impl<F: AsyncFn() -> Arc<dyn Counters>> World<F> {
    /// One message arrives, out of order; perhaps it will again.
    pub(super) async fn deliver(&mut self) {
        if self.network.is_empty() || !self.reachable {
            return;
        }
        let place = self.dice.place(self.network.len());
        let message = self.network[place].clone();
        if !self.dice.one_in(3) {
            self.network.swap_remove(place);
        } else if let Message::Settle(of, again, _) = &mut self.network[place] {
            // It is owed, as no answer came; what the ledger has by now may come with a rebuild.
            again.only_held |= self.ledger.contains_key(of);
        }
        self.arrive(message).await;
    }

    #[expect(clippy::too_many_lines, reason = "a table: an arm for each message")]
    pub(super) async fn arrive(&mut self, message: Message) {
        let now_ms = self.now_ms;
        let too_late = message.request().is_some_and(|of| self.requests[of].ask.lease_until_ms <= now_ms);
        match message {
            Message::Admit(of) if !too_late => self.admit(of).await,
            Message::Extend(of, target) if !too_late => {
                let ask = self.requests[of].ask.clone();
                let granted = self.store.extend(&ask, target, now_ms).await.unwrap();
                let held = self.mirror.holds.get(&of).map(|(held, _, _)| *held);
                let expected = held.is_some_and(|held| self.mirror.fits(&ask, target.minus(held)));
                assert_eq!(granted, expected, "extension to {target:?}");
                self.note(if granted { "extended" } else { "not extended" });
                if let Some((held, _, _)) = self.mirror.holds.get_mut(&of).filter(|_| granted) {
                    *held = larger(*held, target);
                    self.requests[of].held = larger(self.requests[of].held, target);
                }
            }
            Message::Release(of) if !too_late => {
                self.store.release(&self.requests[of].ask, &self.requests[of].ticket, now_ms).await.unwrap();
                self.mirror.holds.remove(&of);
                self.mirror.ended.insert(of);
                self.note("released");
            }
            Message::Settle(of, settlement, ticket) => {
                // A process that was frozen sends it even after the lease.
                let settled = self.store.settle(&settlement, &ticket, now_ms).await.unwrap();
                self.note(match settled {
                    Settled::Done => "settled",
                    Settled::Again => "settled again",
                    Settled::WithoutHold => "settled without a hold",
                });
                let is_told = ticket.incarnation().is_some();
                if too_late && !is_told && settled == Settled::WithoutHold && self.mirror.ended.contains(&of) {
                    // By then the store need not remember that the request ended: it may charge once more, never less.
                    let again = if settlement.only_held { ZERO } else { settlement.used };
                    self.mirror.charge(of, &settlement.windows[0], again);
                    (self.requests[of].late, self.requests[of].charged_late) = (true, true);
                } else {
                    assert_eq!(settled, self.mirror.settle(of, &settlement), "settlement of request {of}");
                    self.requests[of].late |= too_late && settled == Settled::WithoutHold;
                }
            }
            Message::Rebuild { of, incarnation, window, entries } if now_ms < window.resets_at_ms => {
                let charged = entries.iter().fold(Charged::default(), |sum, (_, entry)| {
                    let outage = if entry.outage { entry.used } else { ZERO };
                    sum.plus(Charged { used: entry.used, outage })
                });
                let heeded =
                    self.store.rebuild("acme", incarnation, VERSION, &[(window, charged)], now_ms).await.unwrap();
                assert_eq!(heeded, self.mirror.heeds(incarnation), "a rebuild of incarnation {incarnation:?}");
                if heeded {
                    let charged_later = self.mirror.rebuild(incarnation, &window, &entries);
                    self.note(if charged_later { "charged later" } else { "rebuilt" });
                } else {
                    self.note("rebuild refused");
                }
                if let Some(of) = of.filter(|of| self.requests[*of].stage == Stage::Stale) {
                    self.requests[of].stage = Stage::Asking;
                }
            }
            Message::Close { incarnation, window, until_ms } => {
                self.store.close("acme", incarnation, &window, until_ms, now_ms).await.unwrap();
                self.mirror.close(incarnation, &window, until_ms);
                if !self.mirror.heeds(Some(incarnation)) {
                    self.note("closing refused");
                }
            }
            Message::Acknowledge(expired) => self.store.acknowledge("acme", &expired, now_ms).await.unwrap(),
            Message::Admit(_) | Message::Extend(..) | Message::Release(_) | Message::Rebuild { .. } => {}
        }
    }

    #[expect(clippy::too_many_lines, reason = "an arm for each verdict")]
    async fn admit(&mut self, of: usize) {
        let now_ms = self.now_ms;
        let ask = self.requests[of].ask.clone();
        let window = self.window(of);
        let mut ticket = Ticket::new(ask.id);
        let mut verdict = self.store.admit(&ask, &mut ticket, false, now_ms).await.unwrap();
        let missing = !self.mirror.windows.contains_key(&window.starts_at_ms);
        let stale = |verdict: &Verdict| match verdict {
            Verdict::Stale { windows, incarnation, .. } => (!windows.is_empty()).then_some(*incarnation),
            _ => None,
        };
        if let Verdict::Stale { incarnation, .. } = verdict {
            assert_eq!(*self.mirror.incarnation.get_or_insert(incarnation), incarnation, "a tenant is begun once");
            self.requests[of].stale_in = incarnation;
        }
        if let Some(incarnation) = stale(&verdict).filter(|_| self.strict)
            && self.opened.insert(window.starts_at_ms, ()).is_some()
        {
            // A strict tenant's lost window is closed for one lease; one that was closed and is still missing is rebuilt.
            let close = Message::Close { incarnation, window, until_ms: now_ms + LEASE_MS };
            self.network.push(close.clone());
            Box::pin(self.arrive(close)).await;
            verdict = self.store.admit(&ask, &mut ticket, false, now_ms).await.unwrap();
        }
        if self.strict && stale(&verdict).is_some() {
            self.learn(of);
        }
        let closed = self.mirror.closed.get(&window.starts_at_ms).is_some_and(|until_ms| *until_ms > now_ms);
        let known = self.mirror.holds.get(&of).map(|(held, _, _)| *held);
        let expected = match known {
            Some(_) => "admitted again",
            None if self.mirror.ended.contains(&of) => "admitted for nothing",
            None if missing && closed => "closed",
            None if missing || !self.mirror.knows_version => "stale",
            None if !self.mirror.fits(&ask, ask.hold) => "refused",
            None => "admitted",
        };
        self.note(expected);
        match (expected, &verdict) {
            ("admitted again", Verdict::Admitted { held, .. }) => assert_eq!(Some(*held), known),
            ("admitted for nothing", Verdict::Admitted { held, .. }) => assert_eq!(*held, ZERO),
            ("closed", Verdict::Refused { refusal: Refusal::Closed { .. }, .. }) => {}
            ("stale", Verdict::Stale { windows, .. }) => assert_eq!(windows.is_empty(), !missing),
            ("refused", Verdict::Refused { refusal: Refusal::Quota { .. }, .. }) => {}
            ("admitted", Verdict::Admitted { held, .. }) => {
                assert_eq!(*held, ask.hold);
                self.mirror.holds.insert(of, (*held, window, ask.lease_until_ms));
            }
            _ => panic!("request {of} should be {expected}, but: {verdict:?}"),
        }
        if matches!(verdict, Verdict::Refused { .. }) && !self.deadly {
            // A copy of it that came later could take a hold that nobody knows of.
            self.network.retain(|message| !matches!(message, Message::Admit(copy) if *copy == of));
        }
        let may_come_again = self.network.iter().any(|message| matches!(message, Message::Admit(copy) if *copy == of));
        if may_come_again {
            ticket.doubt();
        }
        let request = &mut self.requests[of];
        if request.stage == Stage::Asking && !request.killed {
            request.stage = match verdict {
                Verdict::Admitted { held, .. } => {
                    (request.held, request.ticket) = (held, ticket);
                    if held == ZERO { Stage::Ended } else { Stage::Held }
                }
                Verdict::Refused { .. } => Stage::Ended,
                Verdict::Stale { .. } => Stage::Stale,
            };
        }
    }
}
