//! Lists of the directory of which only some rows are wanted.
//!
//! It has no index of what they are wanted by: rows are read in their order and the others left out. A page reads so much and no
//! more, so it may be short, or empty, though more follow: `next` says so.

use gateway_core::directory::{Directory, DirectoryError, Page};
use std::pin::Pin;

/// How often the directory is read for one page.
const READS: usize = 20;

type Read<T> =
    for<'a> fn(&'a dyn Directory, Option<&'a str>, usize) -> Pin<Box<dyn Future<Output = Found<T>> + Send + 'a>>;
type Found<T> = Result<Page<T>, DirectoryError>;

/// At most `limit` of the rows that `keep` keeps, from after `cursor`.
pub(crate) async fn some<T>(
    directory: &dyn Directory,
    read: Read<T>,
    mut cursor: Option<String>,
    limit: usize,
    keep: impl Fn(&T) -> bool,
) -> Found<T> {
    let mut data = Vec::new();
    for _ in 0..READS {
        let page = read(directory, cursor.as_deref(), limit - data.len()).await?;
        data.extend(page.data.into_iter().filter(&keep));
        cursor = page.next;
        if cursor.is_none() || data.len() == limit {
            break;
        }
    }
    Ok(Page { data, next: cursor })
}
