const { parentPort, workerData } = require('worker_threads');

parentPort.postMessage(Array.from({ length: workerData }, (_, n) => n + 1).reduce((a, b) => a + b, 0));
