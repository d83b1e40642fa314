//! A listener that ends connections on which nothing moves: a client that neither asks nor takes its
//! answer costs nothing for long.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};

/// How long nothing may move on a connection, either way.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Connections at once; the next ones wait.
const CONNECTIONS_MAX: usize = 512;

pub(super) struct Patient {
    listener: TcpListener,
    connections: Arc<Semaphore>,
    idle_max: Duration,
}

impl Patient {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self::with(listener, CONNECTIONS_MAX, IDLE_MAX)
    }

    fn with(listener: TcpListener, connections: usize, idle_max: Duration) -> Self {
        Self { listener, connections: Arc::new(Semaphore::new(connections)), idle_max }
    }
}

impl Listener for Patient {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Never closed.
        let place = Arc::clone(&self.connections).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let idle = Box::pin(sleep(self.idle_max));
        (Connection { stream, idle, idle_max: self.idle_max, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails when nothing has moved for long.
pub(super) struct Connection {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    idle_max: Duration,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn judged<T>(
        &mut self,
        moved: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        match moved {
            Poll::Ready(result) => {
                let until = Instant::now() + self.idle_max;
                self.idle.as_mut().reset(until);
                Poll::Ready(result)
            }
            Poll::Pending => self.idle.as_mut().poll(context).map(|()| {
                Err(io::Error::new(io::ErrorKind::TimedOut, "nothing moved on the connection"))
            }),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.judged(read, context)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judged(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judged(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    async fn pair(idle_max: Duration) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut patient = Patient::with(listener, 4, idle_max);
        let (served, client) = tokio::join!(patient.accept(), TcpStream::connect(address));
        (served.0, client.unwrap())
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_left() {
        let (mut served, client) = pair(SHORT).await;
        let piece = vec![0_u8; 1 << 16];
        let stuck = loop {
            if let Err(error) = served.write_all(&piece).await {
                break error;
            }
        };
        assert_eq!(stuck.kind(), io::ErrorKind::TimedOut);
        drop(client);
    }

    #[tokio::test]
    async fn a_client_that_asks_nothing_is_left() {
        let (mut served, client) = pair(SHORT).await;
        let silent = served.read(&mut [0; 16]).await.unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
        drop(client);
    }

    #[tokio::test]
    async fn who_gets_something_now_and_then_is_kept_although_nothing_is_asked() {
        let (served, mut client) = pair(SHORT * 3).await;
        let (mut reading, mut writing) = tokio::io::split(served);
        let asked = tokio::spawn(async move { reading.read(&mut [0; 16]).await });
        let mut ticks = tokio::time::interval(SHORT);
        for _ in 0..6 {
            ticks.tick().await;
            writing.write_all(b"x").await.unwrap();
            client.read_exact(&mut [0]).await.unwrap();
        }
        assert!(!asked.is_finished());
        asked.abort();
    }

    #[tokio::test]
    async fn one_more_than_fits_waits_until_somebody_has_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut patient = Patient::with(listener, 1, SHORT * 100);
        let (first, one) = tokio::join!(patient.accept(), TcpStream::connect(address));
        let other = TcpStream::connect(address).await.unwrap();
        assert!(tokio::time::timeout(SHORT, patient.accept()).await.is_err());
        drop(first);
        tokio::time::timeout(SHORT * 20, patient.accept()).await.unwrap();
        drop((one, other));
    }
}
