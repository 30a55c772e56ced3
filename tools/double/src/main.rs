//! The double as a process of its own: `upstream-double [ADDR]`.
//!
//! It prints its base URL on one line and serves until its standard input closes, or until SIGTERM or SIGINT. So it dies
//! with the test that started it, however that test ends. One thread: as a benchmark's upstream it must cost little.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use upstream_double::Double;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let double = Double::start_on(&address).await?;
    println!("{}", double.base_url());

    let (input_open, input_closed) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        drop(input_open);
    });
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = input_closed => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
