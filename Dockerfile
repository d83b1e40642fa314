# One static binary on an empty image: nothing else to patch, nothing else to run.
#
#   docker build -t waveoff .        or        fly deploy

FROM rust:1-bookworm AS build
WORKDIR /src
# A fully static binary: an empty image has no C library. The target is named so that build
# scripts and procedural macros, which must stay dynamic, do not get these flags.
ENV RUSTFLAGS="-C target-feature=+crt-static"
# .dockerignore lets in what the build reads and nothing else.
COPY . .
RUN cargo build --profile dist --locked --bin waveoff --target x86_64-unknown-linux-gnu \
 && mv target/x86_64-unknown-linux-gnu/dist/waveoff /waveoff \
 && mkdir -p /empty

FROM scratch
COPY --from=build /waveoff /waveoff
# SQLite wants a directory for temporary files; the journal's own directory is the volume.
COPY --from=build /empty /tmp
COPY config /config
# Trusted TLS roots are compiled in. The process is root because Fly mounts volumes owned by root
# and an empty image has nothing to hand them over with; a Fly machine is a VM of its own, and
# there is no shell, no package and no other process in it.
ENV WAVEOFF_DATA_DIR=/data
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/waveoff"]
CMD ["run", "--config", "/config"]
