//! The raw forms, as a client that believes nothing gets them.

use crate::client::{Ended, STREAM, chat};
use upstream_double::Double;
use upstream_double::forms::{End, MODEL, forms};

#[tokio::test]
async fn every_form_comes_as_it_stands_and_is_billed_what_stands_beside_it() {
    let double = Double::start().await;
    let mut compared = 0;
    for form in forms() {
        for (sent, fields) in [(&form.whole, ""), (&form.streamed, STREAM)] {
            let (model, before) = (format!("form-{}@label", form.name), double.counts().total);
            let Some(sent) = sent else {
                let refused = chat(&double, &model, fields).await;
                assert_eq!(refused.status(), 404, "{}", form.name);
                continue;
            };
            // The client of this test reads what is announced, and to its end.
            if matches!(sent.end, End::Stall | End::Closed) {
                continue;
            }
            let answer = chat(&double, &model, fields).await;
            let body = String::from_utf8_lossy(&sent.body).replace(MODEL, &model);
            assert_eq!(answer.status(), sent.status, "{}", form.name);
            if sent.status > 0 && !sent.gzip && sent.left_out == 0 {
                assert_eq!(answer.text(), body, "{}", form.name);
                compared += 1;
            }
            let ended = match sent.end {
                End::Reset => Ended::Reset,
                End::Cut => Ended::Short,
                _ => Ended::Whole,
            };
            assert_eq!(answer.ended, ended, "{}", form.name);
            let after = double.counts().total;
            let billed = (after.input_tokens - before.input_tokens, after.output_tokens - before.output_tokens);
            assert_eq!(billed, (sent.bill.input, sent.bill.output), "{}", form.name);
        }
    }
    assert!(compared > 400, "{compared}");
}
