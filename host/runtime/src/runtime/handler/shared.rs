//! Calls of handlers that share their instance with other requests: the side of one request.

use std::any::Any;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use tokio::time::timeout;

use super::{AnswerState, BodyFault, Exchange, Generation, HandlerLog};
use crate::runtime::compartment::{Begin, EarlyEnd, SharedEnd, SharedRequest};
use watertight_store::{CLIENT_GRACE, CallContext, CallError};

impl Generation {
    /// Runs the call of a handler on an instance that other requests use at the same time.
    ///
    /// At its deadline, the request is answered, and its instance gets no further requests. Its call has [`CLIENT_GRACE`] left to end by itself, because it can't be ended alone.
    pub(super) async fn run_shared(
        self: Arc<Self>,
        call: CallContext,
        begin: Begin,
        exchange: Exchange,
        (log, guard): (Arc<HandlerLog>, Arc<dyn Any + Send + Sync>),
    ) -> Result<(), CallError> {
        let HandlerLog { compartment, target, .. } = &*log;
        let late = || compartment.deadline_error(target.function);
        let (deadline, exchange) = (call.deadline.clone(), Arc::new(exchange));
        compartment.metrics().count_call(call.origin);
        let mut call = call.in_compartment(self.clone(), target.compartment);
        let admitted = deadline.bound(compartment.admit_shared(target.function, &mut call));
        let lease = match self.run_until_cut_off(admitted).await.flatten() {
            Some(Ok(lease)) => lease,
            Some(Err(error)) => return log.failed(error),
            None => return log.failed(late()),
        };
        let mut request = SharedRequest { function: target.function, call, begin, exchange: exchange.clone() };
        let ended = loop {
            let mut seat = compartment.join(self.number, request);
            let step = poll_fn(|context| {
                let polled = Pin::new(&mut seat.ended).poll(context);
                if polled.is_pending() {
                    exchange.response.poll_discard(context);
                }
                polled
            });
            match self.run_until_cut_off(deadline.bound(step)).await {
                Some(Some(Ok(SharedEnd::NotBegun(again)))) => request = again,
                Some(Some(Ok(SharedEnd::Returned(state)))) => break Ok(state),
                Some(Some(Ok(SharedEnd::Failed(error)))) => break Err(error),
                // The host panicked in the task of the instance.
                Some(Some(Err(_))) => break Err(compartment.neighbour_error(target.function)),
                Some(None) => {
                    seat.close_instance(compartment);
                    exchange.end();
                    let (failed, generation, compartment) = (log.failed(late()), self.clone(), compartment.clone());
                    tokio::spawn(async move {
                        let ended = generation.run_until_cut_off(timeout(CLIENT_GRACE, &mut seat.ended)).await;
                        match ended {
                            Some(Ok(_)) => {}
                            Some(Err(_)) => seat.end_instance(&compartment, EarlyEnd::Late(seat.task)),
                            None => seat.end_instance(&compartment, EarlyEnd::CutOff),
                        }
                        drop((seat, lease, guard));
                    });
                    if log.is_abandoned() {
                        log.left();
                    }
                    return failed;
                }
                None => {
                    // The instance is told first: what the end of the exchange makes the guest do is of no account then.
                    seat.end_instance(compartment, EarlyEnd::CutOff);
                    let state = exchange.end();
                    // A stream of events ends cleanly: that is no failure.
                    return if state == AnswerState::Complete { Err(late()) } else { log.failed(late()) };
                }
            }
        };
        if let Some(BodyFault::TooLarge(_)) = exchange.request.fault() {
            compartment.report_large_body(
                target.function,
                compartment.limits().body,
                &log.call.request,
                &log.call.trace,
            );
        }
        if exchange.response.is_exceeded() {
            log.warn(&"the handler's answer is longer than its `content-length`: the rest was cut off");
        }
        match ended {
            Ok(AnswerState::Unfinished) if !log.is_abandoned() => {
                log.warn(&"the handler returned and had not finished the body of its answer: the answer was cut off");
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => log.failed(error),
        }
    }
}
