//! Messages on a stream, each behind its length (RFC 1035 section 4.2.2).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Writes one message, length and all at once.
pub(crate) async fn write(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len())
        .map_err(|_| io::Error::other("a message of more than 64 KiB was not sent"))?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}

/// Reads one message in the place of what is in `message`.
///
/// # Errors
/// The stream failed, or ended before it was whole.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin), message: &mut Vec<u8>) -> io::Result<()> {
    match read_next(stream, message).await? {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// As [`read`]; false when the stream ends before a message begins.
pub(crate) async fn read_next(
    stream: &mut (impl AsyncRead + Unpin),
    message: &mut Vec<u8>,
) -> io::Result<bool> {
    let length = match stream.read_u16().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    };
    message.resize(length.into(), 0);
    stream.read_exact(message).await?;
    Ok(true)
}
