# Two stages: the README's build in the first, the binary alone in the second.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The caches make a second build short; they are not part of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/weir /usr/local/bin/weir

FROM debian:bookworm-slim
COPY --from=build /usr/local/bin/weir /usr/local/bin/weir
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/weir weir
USER weir
ENV WEIR_DATA_DIR=/var/lib/weir/data
VOLUME /var/lib/weir
EXPOSE 9092 19092 9644
# bash opens the connection itself, so the image needs no HTTP client.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9644 && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["weir"]
CMD ["serve"]
