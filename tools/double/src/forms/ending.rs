//! The end: how the body of an answer comes to it.

use super::parts::{
    BILL, MESSAGE, NOTHING, STOP, answer, bill, chunk, done, error, event, finish, role, sse, stream, text, told,
};
use super::{End, Form, Kind, Sent};

fn form(name: &str) -> Form {
    Form::named(Kind::End, name)
}

pub(super) fn forms() -> Vec<Form> {
    let said = || format!("{}{}{}", role(), text("Forty two "), text("it is."));
    let of = |rest: &str| sse(&[said().as_str(), rest]);
    let last = chunk("{}", STOP);
    let short = |sent: Sent| Sent { end: End::Cut, left_out: 20, ..sent };
    let tolerated = [
        form("done-one-line-end").streamed(of(&format!("{}{}data: [DONE]\n", finish(STOP), told()))),
        form("done-no-line-end").streamed(of(&format!("{}{}data: [DONE]", finish(STOP), told()))),
        form("done-and-spaces").streamed(of(&format!("{}{}data: [DONE]  \n\n", finish(STOP), told()))),
        form("done-then-closed").streamed(stream().end(End::Cut)),
        form("done-then-reset").streamed(stream().end(End::Reset)),
        form("usage-with-reason").streamed(of(&format!(
            "{}{}",
            event(&chunk("{}", STOP).replace("]}", r#"],"usage":{"prompt_tokens":9,"completion_tokens":4}}"#)),
            done()
        ))),
    ];
    let other = [
        form("without-done").streamed(of(&format!("{}{}", finish(STOP), told()))),
        form("without-done-cut").streamed(of(&finish(STOP)).end(End::Cut)),
        form("without-done-reset").streamed(of(&finish(STOP)).end(End::Reset)),
        form("reason-last").streamed(of(&finish(STOP))),
        form("reason-last-cut").streamed(of("")),
        form("one-line-end").streamed(of(&format!("data: {last}\n"))),
        form("one-line-end-cut").streamed(of(&format!("data: {}\n", &last[..last.len() - 12]))),
        form("no-line-end").streamed(of(&format!("data: {last}"))),
        form("no-line-end-cut").streamed(of(&format!("data: {}", &last[..last.len() - 1]))),
        form("no-line-end-unclean").streamed(of(&format!("data: {last}")).end(End::Cut)),
        form("done-no-space").streamed(of(&format!("{}{}data:[DONE]\n\n", finish(STOP), told()))),
        form("done-no-space-cut").streamed(of("data:[DONE]\n\n")),
        form("done-stays-open").streamed(stream().end(End::Stall)),
        form("done-stays-open-cut").streamed(of("").end(End::Stall)),
        form("done-alone").streamed(sse(&[done()]).bill(NOTHING)),
        form("done-in-text")
            .whole(answer(r#"{"role":"assistant","content":"It ends with data: [DONE]"}"#, STOP))
            .streamed(sse(&[role(), text("It ends with "), text("data: [DONE]"), finish(STOP), told(), done()])),
        form("done-in-text-cut").streamed(sse(&[role(), text("It ends with "), text("data: [DONE]")])),
        form("error-after-reason").streamed(of(&format!(
            "{}{}{}",
            finish(STOP),
            event(&error("The node is gone.", "server_error", "null")),
            done()
        ))),
        form("closed").whole(answer(MESSAGE, STOP).end(End::Closed)).streamed(stream().end(End::Closed)),
        form("closed-cut")
            .whole(Sent { left_out: 20, ..answer(MESSAGE, STOP).end(End::Closed) })
            .streamed(of("").end(End::Closed)),
        form("short").whole(short(answer(MESSAGE, STOP))).streamed(short(of(&finish(STOP)))),
        form("reset-in-body")
            .whole(Sent { left_out: 20, ..answer(MESSAGE, STOP) }.end(End::Reset))
            .streamed(sse(&[role(), text("Forty two it")]).end(End::Reset).bill(bill(9, 0, 3, 0))),
        form("stall-after-text").streamed(sse(&[role(), text("Forty two it")]).end(End::Stall).bill(BILL)),
    ];
    tolerated.into_iter().flat_map(Form::and_cut).chain(other).collect()
}
