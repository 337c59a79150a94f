# ossmount in a small image: compiled in one stage, run from another. The mount needs /dev/fuse and CAP_SYS_ADMIN:
#   docker run --rm --device /dev/fuse --cap-add SYS_ADMIN -e OSS_ACCESS_KEY_ID -e OSS_ACCESS_KEY_SECRET \
#     -v /mnt/data:/mnt/data:rshared ossmount mount --foreground oss://BUCKET /mnt/data --endpoint ENDPOINT -o allow_other
ARG PYTHON=python:3.12-slim-bookworm

FROM ${PYTHON} AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc pkg-config libfuse3-dev libc6-dev && rm -rf /var/lib/apt/lists/*
COPY setup.cfg pyproject.toml README.md LICENSE /src/
COPY ossmount /src/ossmount
RUN python -m venv /opt/ossmount && /opt/ossmount/bin/pip install --no-cache-dir /src

FROM ${PYTHON}
RUN apt-get update && apt-get install -y --no-install-recommends fuse3 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/ossmount /opt/ossmount
ENV PATH=/opt/ossmount/bin:$PATH
ENTRYPOINT ["ossmount"]
CMD ["--help"]
