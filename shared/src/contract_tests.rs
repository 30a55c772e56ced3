//! Makes tests of a border's cases: one for each case and backend.
//!
//! Each border lists its cases once, in a macro beside them (`counters_contract!`, `ledger_contract!` …), which hands the
//! list on to [`contract_tests`](macro@crate::contract_tests). From one list come the names that the contract makes
//! public, so that a case that nobody listed shows as unused, and the tests of each backend, so that no backend leaves out
//! a case.

#![cfg(any(test, feature = "contract"))]

/// What a border's macro expands to, by what that was given:
///
/// - `cases`: the cases are re-exported out of the modules that they stand in.
/// - `NAME, FRESH`: a module `NAME` with a test for each case. `FRESH` is an expression that makes a backend, empty; a
///   case `of one` is given one, a case `of many` makes as many as it likes.
/// - `NAME (GROUND = EXPRESSION), FRESH`: the same, where `FRESH` uses `GROUND`, such as a folder, which lives as long as
///   the test.
#[macro_export]
macro_rules! contract_tests {
    ((cases) $cases:path => $border:ty; $($how:ident $module:ident { $($case:ident)* })*) => {
        $(pub use super::$module::{$($case),*};)*
    };
    (($name:ident, $fresh:expr) $($cases:tt)*) => {
        $crate::contract_tests! { ($name (_ground = ()), $fresh) $($cases)* }
    };
    (($name:ident ($ground:ident = $made:expr), $fresh:expr)
        $cases:path => $border:ty; $($how:ident $module:ident { $($case:ident)* })*) => {
        mod $name {
            use super::*;
            use $cases as cases;

            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let $ground = $made;
                    let fresh = async || std::sync::Arc::new($fresh) as $border;
                    $crate::contract_tests!(@$how cases::$case, fresh)
                }
            )*)*
        }
    };
    (@one $case:path, $fresh:ident) => { $case($fresh().await).await };
    (@many $case:path, $fresh:ident) => { $case($fresh).await };
}
