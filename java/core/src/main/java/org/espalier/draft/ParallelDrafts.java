package org.espalier.draft;

import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.espalier.Drafter;
import org.espalier.DrafterException;
import org.espalier.DrafterFactory;
import org.espalier.EspalierException;
import org.espalier.GenerationCancelledException;
import org.espalier.Model;
import org.espalier.ModelOptions;
import org.espalier.Session;
import org.espalier.SessionOptions;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The draft model and the draft thread that the drafters of {@link Parallel} share. */
public final class ParallelDrafts implements DrafterFactory {
  private static final Logger LOG = LoggerFactory.getLogger(ParallelDrafts.class);
  private static final int MAX_NODES = 256;

  private final DraftWeights weights;
  private final Parallel.Pace pace;
  private final int threads;
  private final DraftThread thread = new DraftThread();

  /**
   * A factory.
   *
   * @param nameOrDir an embedded model's name, or a folder
   * @param g tokens of a block, 1 to 32, or 0 to follow the measured times
   * @param threads CPU threads of the draft, or 0 for the cores that the target leaves, at least
   *     one
   */
  public ParallelDrafts(String nameOrDir, int g, int threads) {
    this.weights = new DraftWeights(nameOrDir);
    this.pace = new Parallel.Pace(Checks.inRange("gamma", g, 0, Parallel.MAX_G));
    this.threads = Checks.inRange("threads", threads, 0, 1024);
  }

  @Override
  public Drafter create(Session session) {
    ModelOptions options = session.model().options();
    Model draft = weights.open(session.model(), options.withThreads(draftThreads(options)));
    SessionOptions size =
        SessionOptions.defaults()
            .withMaxTokens(session.options().maxTokens())
            .withMaxNodes(MAX_NODES);
    thread.enter();
    // A session of its own context: on a GPU that is a stream of its own.
    Future<DraftChain> chain = thread.submit(() -> new DraftChain(draft.newSession(size)));
    try {
      return new Parallel(thread, await(chain), pace);
    } catch (RuntimeException e) {
      thread.execute(() -> close(chain));
      thread.leave();
      throw e;
    }
  }

  private int draftThreads(ModelOptions target) {
    if (threads > 0) {
      return threads;
    }
    int left = Runtime.getRuntime().availableProcessors() - target.threads();
    return target.threads() == 0 ? 1 : Math.max(1, left);
  }

  /** Closes a chain that nobody waited for, if it was begun; on the draft thread, after that. */
  private static void close(Future<DraftChain> chain) {
    try {
      chain.get().close();
    } catch (InterruptedException | ExecutionException e) {
      LOG.debug("no draft session to close", e);
    }
  }

  private static DraftChain await(Future<DraftChain> chain) {
    try {
      if (Thread.interrupted()) { // get does not say so when the draft is there already
        throw new InterruptedException();
      }
      return chain.get();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new GenerationCancelledException("the thread was interrupted while a draft was begun");
    } catch (ExecutionException e) {
      if (e.getCause() instanceof EspalierException known) {
        throw known;
      }
      throw new DrafterException("drafter parallel: no draft session: " + e.getCause(), e);
    }
  }

  @Override
  public String name() {
    return "parallel";
  }

  /** Closes the draft model; drafters that are still open go on. */
  @Override
  public void close() {
    weights.close();
  }
}
