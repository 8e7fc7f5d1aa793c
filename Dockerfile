# The image is three layers on nothing: what comes from Debian, what comes from PyPI, and Mooring. Each is laid out as a tree of files
# in the build stage, byte for byte the same at each build, so that a new Mooring is a small download for whoever has the one before.
ARG BASE=debian:trixie-slim

FROM ${BASE} AS build
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv
COPY image/build.txt /build/image/
# Certificates as the base trusts them, not as uv bundles them.
ENV UV_SYSTEM_CERTS=1 UV_LINK_MODE=copy UV_NO_CACHE=1 PYTHONHASHSEED=0 SITE=usr/lib/python3/dist-packages
RUN python3 -m venv /opt/build && /opt/build/bin/pip install --quiet --no-cache-dir --require-hashes --requirement /build/image/build.txt

COPY image/assemble.py /build/image/
# Nobody looks at columns in code whose lines are not in the image: without them the bytecode is smaller.
RUN /usr/bin/python3 -X no_debug_ranges /build/image/assemble.py system /layers/system

WORKDIR /build
COPY pyproject.toml uv.lock ./
RUN /opt/build/bin/uv export --quiet --locked --no-default-groups --extra binary --no-emit-project --output-file requirements.txt \
 && /opt/build/bin/uv pip install --quiet --python /usr/bin/python3 --target /layers/dependencies/$SITE \
    --require-hashes --only-binary :all: --requirement requirements.txt \
 && /usr/bin/python3 -X no_debug_ranges image/assemble.py dependencies /layers/dependencies /layers/system

COPY README.md LICENSE ./
COPY src src
COPY image/mooring /layers/mooring/usr/local/bin/
RUN /opt/build/bin/uv pip install --quiet --python /opt/build/bin/python --target /layers/mooring/$SITE \
    --no-deps --no-build-isolation . \
 && /usr/bin/python3 image/assemble.py mooring /layers/mooring

# What every image of Mooring's has: one for a tool with dependencies of its own is another stage on top of this one.
FROM scratch AS image
COPY --from=build /layers/system /
COPY --from=build /layers/dependencies /
COPY --from=build /layers/mooring /
# libpq's OpenSSL comes from PyPI and would look for the system's authorities elsewhere.
ENV PATH=/usr/local/bin:/usr/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
# A number, because runAsNonRoot cannot tell whether a name is root's.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/mooring"]
CMD ["up"]

# With Alembic, for `docker build --target mooring-alembic`: what the plain image has is not installed again.
FROM build AS build-alembic
RUN /opt/build/bin/uv export --quiet --locked --no-default-groups --extra alembic --no-emit-project \
    $(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' requirements.txt) --output-file alembic.txt \
 && /opt/build/bin/uv pip install --quiet --python /usr/bin/python3 --target /layers/alembic/$SITE \
    --no-deps --require-hashes --only-binary :all: --requirement alembic.txt \
 && /usr/bin/python3 -X no_debug_ranges image/assemble.py alembic /layers/alembic /layers/system /layers/dependencies

FROM image AS mooring-alembic
COPY --from=build-alembic /layers/alembic /
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Mooring for Alembic" \
      org.opencontainers.image.description="Mooring, with Alembic and SQLAlchemy for revisions, which are Python." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"

# The last stage, and so what `docker build` makes.
FROM image AS mooring
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Mooring" \
      org.opencontainers.image.description="Runs a service's PostgreSQL migrations before its pod starts, and exits 0 only with proof." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"
